"""Many running jobs waited for in one asyncio process, against a bare httpx2 loop that makes the same polls.

    python benchmarks/poller.py [--host minimal] [--jobs 1000] [--pace 30] [--seconds 120]

The host is a fake on a real socket in another process. Each contender runs in a process of its own, one after the
other. CPU and threads are counted once every job has been asked, memory and requests from the start; "of pace" is how
many were made of the requests that the pace allows in that time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hosts import HOSTS, KEY, serving

MEMORY_GOAL, CPU_GOAL = 150.0, 10.0


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


async def measured(count: int, pace: float, seconds: float, follow: Callable[[int], Awaitable[object]]) -> None:
    """Run `follow` for every job, and print what it took once the first round is over."""
    tasks = [asyncio.ensure_future(follow(number)) for number in range(count)]
    await asyncio.sleep(pace)
    threads, cpu, began = 0, time.process_time(), time.monotonic()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(0.2)
        threads = max(threads, threading.active_count())
    spent, took = time.process_time() - cpu, time.monotonic() - began
    failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    told = {"memory": peak_mb(), "cpu": 100 * spent / took, "threads": threads, "ended": len(failed)}
    print(json.dumps(told), flush=True)


async def ours(name: str, url: str, count: int, pace: float, seconds: float) -> None:
    from adaptkit import AsyncClient, Status, waiting
    from adaptkit.types import OwnedJob, Snapshot

    waiting.FIRST = waiting.LONGEST = pace  # what a host without a wish of its own is asked at
    with tempfile.TemporaryDirectory() as home:
        async with AsyncClient(targets={"t": HOSTS[name].config(url)}, home=home) as client:
            jobs = []
            for number in range(count):
                heard = Snapshot(job_id=f"job-{number}", status=Status.RUNNING, raw_status=HOSTS[name].running)
                jobs.append(await client.adopt("t", OwnedJob(snapshot=heard)))
            await measured(count, pace, seconds, lambda number: jobs[number].wait())


async def bare(name: str, url: str, count: int, pace: float, seconds: float) -> None:
    import httpx2

    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def follow(number: int) -> None:
            while True:
                (await http.get(url + HOSTS[name].path.format(f"job-{number}"), headers=headers)).json()
                await asyncio.sleep(pace * random.uniform(0.75, 1.25))

        await measured(count, pace, seconds, follow)


CONTENDERS = {"ours": ours, "bare": bare}


def compare(name: str, count: int, pace: float, seconds: float) -> None:
    asked_for = count * (1 + (pace + seconds) / pace)
    print(f"{count} jobs of {name}, a poll every {pace:g} s each, for {seconds:g} s after the first round")
    print(f"{'':16}{'memory MB':>10}{'CPU %':>8}{'threads':>9}{'polls':>8}{'of pace':>9}{'connections':>13}")
    results = {}
    for contender in CONTENDERS:
        with serving(name, jobs=count) as server:
            command = [sys.executable, __file__, "--contender", contender, "--url", server.url, "--host", name]
            command += ["--jobs", str(count), "--pace", str(pace), "--seconds", str(seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
        told = results[contender] = json.loads(done.stdout.splitlines()[-1])
        polls, connections = server.counts["poll"], server.counts["connections"]
        label = {"ours": "adaptkit", "bare": "bare httpx2"}[contender]
        print(
            f"{label:16}{told['memory']:10.0f}{told['cpu']:8.1f}{told['threads']:9}{polls:8}{polls / asked_for:9.2f}"
            f"{connections:13}" + (f"  {told['ended']} jobs ended" if told["ended"] else "")
        )
    mine = results["ours"]
    print(f"memory {mine['memory']:.0f} MB (goal < {MEMORY_GOAL:g}), CPU {mine['cpu']:.1f} % (goal < {CPU_GOAL:g}), "
          f"CPU ratio to the bare loop {mine['cpu'] / results['bare']['cpu']:.2f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", choices=HOSTS, default="minimal")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pace", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        run = CONTENDERS[given.contender]
        asyncio.run(run(given.host, given.url, given.jobs, given.pace, given.seconds))
    else:
        compare(given.host, given.jobs, given.pace, given.seconds)


if __name__ == "__main__":
    main()
