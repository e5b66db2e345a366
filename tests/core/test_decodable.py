"""Threads that decode one type for the first time, together; in a process of its own, which it could end."""

from __future__ import annotations

import subprocess
import sys

RACE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import msgspec
from adaptkit.decodable import decodable

sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(8) as pool:
    for number in range(200):
        names = {"msgspec": msgspec, "decodable": decodable}
        parts = "".join(f"class P{at}(msgspec.Struct, tag=True):\\n    a: int = 0\\n" for at in range(8))
        kinds = " | ".join(f"P{at}" for at in range(8))
        exec(f"{parts}@decodable\\nclass Whole(msgspec.Struct):\\n    parts: list[{kinds}]\\n", names)
        together = threading.Barrier(8)
        def read():
            together.wait()
            msgspec.json.decode(b'{"parts": [{"type": "P3"}]}', type=names["Whole"])
        for done in [pool.submit(read) for _ in range(8)]:
            done.result()
"""


def test_several_threads_may_decode_a_type_at_once():
    ended = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
