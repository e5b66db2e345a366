"""How fast data is checked, beside a bare typed msgspec decode of the same lines.

    python benchmarks/data.py [--megabytes 240] [--rounds 3]

The baseline is what it would cost to decode every line into a typed struct (role in four values, content a string) and
do nothing else: no line numbers, no paths, no statistics, no duplicates, no hash of the file, no search for secrets.
Both run in one process, in turn, with the files in the page cache; figures are processor time, the best of the rounds,
and for the check by ranges of bytes wall time. Peak memory is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

import adaptkit.data.check  # noqa: F401 - the import is not what is measured
from adaptkit.data import Dataset

SYLLABLES = ["ta", "re", "mi", "so", "lan", "der", "que", "ver", "ist", "om", "pa", "ce", "lo", "un", "ka", "ri", "ach"]
RSS = """
import sys
from adaptkit.data import Dataset
import adaptkit.data.check
def peak():  # not ru_maxrss, which begins with that of the parent process
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
if sys.argv[1:]:
    Dataset.open(sys.argv[1]).check()
print(peak() - before)
"""


class Turn(msgspec.Struct, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None


class Row(msgspec.Struct, gc=False):
    messages: list[Turn]


def baseline(path: Path) -> None:
    decode = msgspec.json.Decoder(Row).decode
    with path.open("rb") as file:
        for line in file:
            decode(line)


def on_one_core(path: Path) -> None:
    """With one core to run on, no second process is started."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        Dataset.open(path).check()
    finally:
        os.sched_setaffinity(0, cores)


def text(rng: random.Random, words: list[str], count: int) -> str:
    """Words with the capitals, punctuation, line breaks, quotes and accents that real messages have."""
    out = []
    for word in rng.choices(words, k=count):
        draw = rng.random()
        out.append(
            word.capitalize()
            if draw < 0.05
            else word + rng.choice([".\n", ",", "?", '"', "é"])
            if draw < 0.12
            else word
        )
    return " ".join(out)


def short_row(say: Callable[[int], str]) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": say(4)},
            {"role": "user", "content": say(9)},
            {"role": "assistant", "content": say(8)},
        ]
    }


def long_row(say: Callable[[int], str]) -> dict[str, Any]:
    turns = [{"role": role, "content": say(36)} for role in ("user", "assistant") * 2]
    return {"messages": [{"role": "system", "content": say(20)}, *turns]}


def tool_row(say: Callable[[int], str]) -> dict[str, Any]:
    function = {"name": "look_up", "arguments": json.dumps({"order": say(1), "full": True})}
    tool = {"name": "look_up", "description": say(8), "parameters": {"type": "object", "properties": {}}}
    return {
        "messages": [
            {"role": "user", "content": say(20)},
            {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "c1", "content": say(20)},
            {"role": "assistant", "content": say(20), "weight": 1},
        ],
        "tools": [{"type": "function", "function": tool}],
    }


def rows(make: Callable[[Callable[[int], str]], dict[str, Any]], seed: int = 0) -> Iterator[bytes]:
    rng = random.Random(seed)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(4000)]
    while True:
        yield json.dumps(make(lambda count: text(rng, words, count)), ensure_ascii=False).encode() + b"\n"


def generate(path: Path, make: Callable[..., dict[str, Any]], size: int) -> int:
    with path.open("wb") as file:
        for count, row in enumerate(rows(make), 1):
            file.write(row)
            if file.tell() >= size:
                return count
    raise AssertionError("rows never end")


def best(rounds: int, *runs: Callable[[], object], clock: Callable[[], float] = time.process_time) -> list[float]:
    """The least time of each, taking turns so that a slow spell of the machine meets all of them."""
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, taken in zip(runs, times, strict=True):
            start = clock()
            run()
            taken.append(clock() - start)
    return [min(taken) for taken in times]


def peak(path: Path | None) -> float:
    """Peak memory of a check in a fresh process, beyond the interpreter with adaptkit imported, in MB."""
    out = subprocess.run(
        [sys.executable, "-c", RSS, *([str(path)] if path else [])], check=True, capture_output=True, text=True
    )
    return int(out.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["short", "long", "tools"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("short", short_row), ("long", long_row), ("tools", tool_row)):
            if options.only not in (None, name):
                continue
            path = Path(folder, f"{name}.jsonl")
            count = generate(path, make, options.megabytes * 1_000_000)
            size = path.stat().st_size
            bare, checked = best(options.rounds, lambda p=path: baseline(p), lambda p=path: on_one_core(p))
            wall_one, wall_two = best(
                options.rounds,
                lambda p=path: on_one_core(p),
                lambda p=path: Dataset.open(p).check(),
                clock=time.perf_counter,
            )
            print(f"{name}: {count:,} rows, {size / 1e6:.0f} MB, {size / count:.0f} bytes a row")
            for label, seconds in (("bare typed msgspec decode", bare), ("check, one core", checked)):
                print(f"  {label:28} {count / seconds / 1e3:7.0f} k rows/s {size / seconds / 1e6:6.0f} MB/s")
            print(
                f"  ratio {bare / checked:.2f}; a second process: {wall_one / wall_two:.2f} times as fast; "
                f"peak memory over the interpreter {peak(path):.0f} MB"
            )


if __name__ == "__main__":
    main()
