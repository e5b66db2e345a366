"""What adaptkit adds to asking: to one request that takes 20 ms, and to the throughput of 200 at a time.

    python benchmarks/chat.py [--calls 200] [--together 200] [--rounds 5]

The service is a fake of OpenAI's Responses API in a process of its own. One request: `model.chat` and the SDK's
`responses.create`, in turn, by medians. Many: `model.chat` from that many threads of this process, `AsyncModel.chat`
and the SDK's `AsyncOpenAI` with that many under way, in turn, by the median of the rounds' ratios; the SDK's client may
keep as many connections open as ours does, which is more than its own would.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai

from adaptkit import AsyncClient, Client, Dataset, Model
from adaptkit.http import LIMITS

KEY_ENV, KEY, MODEL = "ADAPTKIT_BENCH_KEY", "sk-for-benchmarks", "gpt-6-luna"
QUESTION = "Where is my parcel?"
OVERHEAD_GOAL, THROUGHPUT_GOAL = 5.0, 0.85


# the service, in a process of its own -----------------------------------------------------------------------------

ANSWER = json.dumps(
    {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_764_000_000,
        "model": MODEL,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "parcels", "annotations": []}],
            }
        ],
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 11,
        },
    }
).encode()
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


def serve(delay: float) -> None:
    """Answer every request after so many seconds, until standard input ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.split(b":")[1]))
                await asyncio.sleep(delay)
                writer.write(HEADERS + ANSWER)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        os._exit(0)

    asyncio.run(main())


@contextmanager
def serving(delay: float) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def table(url: str) -> dict[str, Any]:
    """A model with nothing in front of the question: both send the same."""
    return {"backend": "prompt", "model": f"openai:{MODEL}", "base_url": url, "api_key_env": KEY_ENV, "examples": 0}


@contextmanager
def asked(url: str) -> Iterator[Model]:
    os.environ[KEY_ENV] = KEY
    with tempfile.TemporaryDirectory() as home, Client(targets={"t": table(url)}, home=home) as client:
        yield client.submit("t", Dataset.of([{"prompt": QUESTION, "completion": "parcels"}])).result()


# one request ------------------------------------------------------------------------------------------------------


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def one(model: Model, url: str, calls: int, delay: float) -> None:
    with openai.OpenAI(api_key=KEY, base_url=url, max_retries=0) as sdk:
        contenders: dict[str, Callable[[], object]] = {
            "adaptkit": lambda: model.chat(QUESTION),
            "raw": lambda: sdk.responses.create(model=MODEL, input=QUESTION, store=False),
        }
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for turn in range(calls + 10):
            for who in random.sample(list(contenders), len(contenders)):
                took = milliseconds(contenders[who])
                if turn >= 10:  # connections are open by then
                    times[who].append(took)
    ours, bare = (statistics.median(times[who]) for who in ("adaptkit", "raw"))
    print(f"one request, {1000 * delay:g} ms at the service, medians of {calls}: adaptkit {ours:.2f} ms, openai's SDK "
          f"{bare:.2f} ms, overhead {100 * (ours / bare - 1):.1f} % (goal < {OVERHEAD_GOAL:g})")  # fmt: skip


# many at a time ---------------------------------------------------------------------------------------------------


def by_threads(model: Model, together: int, calls: int) -> float:
    with ThreadPoolExecutor(together) as pool:
        list(pool.map(lambda _: model.chat(QUESTION), range(together)))  # threads and connections are there
        began = time.perf_counter()
        list(pool.map(lambda _: model.chat(QUESTION), range(calls)))
        return calls / (time.perf_counter() - began)


async def by_tasks(ask: Callable[[], Awaitable[object]], together: int, calls: int) -> float:
    async def asking(count: int) -> None:
        for _ in range(count):
            await ask()

    await asyncio.gather(*(asking(1) for _ in range(together)))
    began = time.perf_counter()
    await asyncio.gather(*(asking(calls // together) for _ in range(together)))
    return calls // together * together / (time.perf_counter() - began)


async def by_sdk(url: str, together: int, calls: int) -> float:
    http = openai.DefaultAsyncHttpxClient(limits=LIMITS)
    async with openai.AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0, http_client=http) as sdk:
        return await by_tasks(lambda: sdk.responses.create(model=MODEL, input=QUESTION, store=False), together, calls)


async def by_model(model: Model, url: str, together: int, calls: int) -> float:
    async with AsyncClient(targets={"t": table(url)}, home=Path(model.id).parents[2]) as client:
        asked = await client.model(str(model.ref))
        return await by_tasks(lambda: asked.chat(QUESTION), together, calls)


def many(model: Model, url: str, together: int, rounds: int) -> None:
    calls = 10 * together
    contenders: dict[str, Callable[[], float]] = {
        "model.chat": lambda: by_threads(model, together, calls),
        "AsyncModel.chat": lambda: asyncio.run(by_model(model, url, together, calls)),
        "sdk": lambda: asyncio.run(by_sdk(url, together, calls)),
    }
    rates: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(rounds):
        for who in random.sample(list(contenders), len(contenders)):
            rates[who].append(contenders[who]())
    bare = statistics.median(rates["sdk"])
    print(f"{together} at a time, medians of {rounds} rounds of {calls}: openai's async SDK {bare:.0f} requests/s")
    for who in ("model.chat", "AsyncModel.chat"):
        ratios = [ours / theirs for ours, theirs in zip(rates[who], rates["sdk"], strict=True)]
        print(f"  {who} {statistics.median(rates[who]):.0f} requests/s, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f}; goal >= {THROUGHPUT_GOAL:g})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--together", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.02)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve)
        return
    warnings.simplefilter("ignore")
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()))
    with serving(given.delay) as url, asked(url) as model:
        if given.calls:
            one(model, url, given.calls, given.delay)
        many(model, url, given.together, given.rounds)


if __name__ == "__main__":
    main()
