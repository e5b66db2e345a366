"""What adaptkit adds: to one poll that takes 20 ms at the host, and to the memory of a process that uploads 500 MB.

    python benchmarks/overhead.py [--host minimal] [--polls 300] [--megabytes 500]

Polls are made in turn, by adaptkit and by the SDK or HTTP client that the backend uses, in one process against a fake
in another; the medians are compared. The upload runs in a process of its own: its peak is compared with what it has
when everything is imported and the client is open.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hosts import HOSTS, serving

from adaptkit import Client, Dataset, Status
from adaptkit.types import OwnedJob, Snapshot

OVERHEAD_GOAL, MEMORY_GOAL = 5.0, 100.0


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def poll(name: str, polls: int, delay: float) -> None:
    with serving(name, jobs=1, delay=delay) as server, tempfile.TemporaryDirectory() as home:
        raw = HOSTS[name].raw(server.url)
        with Client(targets={"t": HOSTS[name].config(server.url)}, home=home) as client:
            heard = Snapshot(job_id="job-0", status=Status.RUNNING, raw_status=HOSTS[name].running)
            job = client.adopt("t", OwnedJob(snapshot=heard))
            contenders: dict[str, Callable[[], object]] = {"adaptkit": job.refresh, "raw": lambda: raw("job-0")}
            times: dict[str, list[float]] = {who: [] for who in contenders}
            for turn in range(polls + 10):
                for who in random.sample(list(contenders), len(contenders)):
                    took = milliseconds(contenders[who])
                    if turn >= 10:  # connections are open by then
                        times[who].append(took)
    ours, bare = (statistics.median(times[who]) for who in ("adaptkit", "raw"))
    print(f"one poll of {name}, {1000 * delay:g} ms at the host, medians of {polls}: adaptkit {ours:.2f} ms, "
          f"raw {bare:.2f} ms, overhead {100 * (ours / bare - 1):.1f} % (goal < {OVERHEAD_GOAL:g})")  # fmt: skip


def memory(name: str) -> int:
    """Kilobytes that this process has at most had, and the largest of its children."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def upload_here(name: str, url: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as home, Client(targets={"t": HOSTS[name].config(url)}, home=home) as client:
        client._target("t")
        client.jobs()
        idle, began = memory("VmRSS"), time.perf_counter()
        client.submit("t", Dataset.open(path))
        took = time.perf_counter() - began
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(json.dumps({"idle": idle, "peak": memory("VmHWM"), "children": children, "seconds": took}))


def upload(name: str, megabytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder, serving(name) as server:
        path, rng = Path(folder) / "train.jsonl", random.Random(0)
        words = [f"word{number}" for number in range(5000)]
        with path.open("w") as file:
            while file.tell() < megabytes * 1_000_000:
                asked, said = (" ".join(rng.choices(words, k=count)) for count in (60, 80))
                turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
                file.write(json.dumps({"messages": turns}) + "\n")
        command = [sys.executable, __file__, "--host", name, "--upload", str(path), "--url", server.url]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
    over = (told["peak"] - told["idle"]) / 1024
    print(f"check, convert and upload {megabytes} MB to {name} in {told['seconds']:.0f} s: {over:.0f} MB over the idle "
          f"process of {told['idle'] / 1024:.0f} MB (goal < {MEMORY_GOAL:g}); its helper process had "
          f"{told['children'] / 1024:.0f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", choices=HOSTS, default="minimal")
    parser.add_argument("--polls", type=int, default=300)
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--upload", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.upload:
        upload_here(given.host, given.url, given.upload)
        return
    if given.polls:
        poll(given.host, given.polls, given.delay)
    if given.megabytes:
        upload(given.host, given.megabytes)


if __name__ == "__main__":
    main()
