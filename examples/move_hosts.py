"""One script and one data set on every backend: the target is the only thing that changes.

    python move_hosts.py                      # every host, each a fake of it on this machine: no key, no network
    python move_hosts.py small together       # only these
    python move_hosts.py --real together --budget 5 [--confirm-spend]   # the real one, with your key

`lifecycle` is the part to copy. Targets stand in move_hosts.toml, as they would in your own adaptkit.toml.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from adaptkit import Client, Dataset, UnsupportedError, builtin
from adaptkit.testing import FakeBedrock, FakeFireworks, FakeOpenAI, FakeTogether, HastyClock

TARGETS = Path(__file__).with_suffix(".toml")
QUESTION = "Where is my parcel?"


def lifecycle(client: Client, target: str, data: Dataset, budget: float | None, *, confirm_spend: bool) -> None:
    """From data to an answer, and nothing left behind that costs money."""
    plan = client.plan(target, data)  # checked and converted; nothing was sent
    print(f"  plan      {plan.files[0].rows} rows, about {plan.tokens:,} tokens, to {', '.join(plan.destinations) or '-'}")
    print("  estimate  " + str(client.estimate(target, data)).replace("\n", "\n            "))

    job = client.submit(target, data, budget=budget)  # once, however often this script is run
    print(f"  job       {job.ref}")
    for event in job.events():
        if event.kind in ("status", "warning"):
            print(f"  event     {event.message}")
    model = job.result()

    try:
        print(f"  answer    {model.chat(QUESTION, max_tokens=40).text}")
    except (UnsupportedError, LookupError):  # it answers only on hardware that is billed until it is stopped
        if not confirm_spend:
            print(f"  answer    needs a deployment: model.deploy(confirm_spend=True); keep {model.ref}")
            return
        with model.deploy(confirm_spend=True) as running:
            print(f"  deployed  {running.id}, {running.hourly_usd or 'an unknown number of'} dollars an hour")
            print(f"  answer    {running.chat(QUESTION, max_tokens=40).text}")
        print(f"  stopped   {running.status}")


# the fakes: what a test of yours would do too ---------------------------------------------------------------------


@contextmanager
def pretended(targets: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same targets, each at a fake of its host on a socket of this machine."""
    with ExitStack() as services:

        def start(kind: type[Any]) -> Any:
            fake = kind("sk-made-up")
            services.callback(fake.close)
            return fake

        bedrock = start(FakeBedrock).wire.url
        elsewhere = {
            "openai": {"base_url": start(FakeOpenAI).url, "profile": "openai"},
            "together": {"base_url": start(FakeTogether).wire.url},
            "fireworks": {"base_url": start(FakeFireworks).wire.url, "storage": ()},
            "bedrock": {"endpoints": {"bedrock": bedrock, "runtime": bedrock, "s3": bedrock}},
        }
        keys = ("OPENAI_API_KEY", "TOGETHER_API_KEY", "FIREWORKS_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        os.environ.update(dict.fromkeys(keys, "sk-made-up"))
        yield {name: table | elsewhere.get(table["backend"], {}) for name, table in targets.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"targets of {TARGETS.name}; default: all")
    parser.add_argument("--real", action="store_true", help="the real hosts, with your keys")
    parser.add_argument("--budget", type=float, help="US dollars that a job may cost")
    parser.add_argument("--confirm-spend", action="store_true", help="deploy models that answer only so")
    options = parser.parse_args()
    table = tomllib.loads(TARGETS.read_text(encoding="utf-8"))["targets"]
    chosen = {name: table[name] for name in options.targets or table}
    data = Dataset.open(builtin.task("desk").train)
    warnings.simplefilter("ignore")  # they are printed as events
    with ExitStack() as stack:
        home = None if options.real else stack.enter_context(tempfile.TemporaryDirectory())
        targets = chosen if options.real else stack.enter_context(pretended(chosen))
        clock = None if options.real else HastyClock()
        client = stack.enter_context(Client(targets=targets, home=home, clock=clock))
        for name in chosen:
            began = time.monotonic()
            print(f"{name}: backend {chosen[name]['backend']}, model {chosen[name]['model']}")
            lifecycle(client, name, data, options.budget, confirm_spend=options.confirm_spend or not options.real)
            print(f"  done in {time.monotonic() - began:.1f} s\n")


if __name__ == "__main__":
    main()
