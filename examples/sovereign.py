"""Everything in your own house: data, training of all weights, comparison, answers, export, without a network.

    pip install 'adaptkit[train,eval]'
    python sovereign.py

On Linux it runs itself again inside a network namespace that has no route, so that a packet could not leave if
something tried; elsewhere the policy alone holds (egress = "none"). No key, no GPU, under a minute on two cores.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from adaptkit import AdaptkitWarning, Client, Dataset, builtin

INSIDE = "ADAPTKIT_EXAMPLE_INSIDE"

TARGETS = {
    "base": {"backend": "prompt", "examples": 0},
    # your own: a folder with Ministral 3's weights that lies in your house, and an engine for the machines you have
    "ours": {"backend": "mistral", "model": "builtin:tiny", "method": "sft"},
}


def no_way_out() -> str:
    """What comes of a connection to another machine."""
    try:
        socket.create_connection(("192.0.2.1", 443), timeout=1).close()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else type(error).__name__
    return "connected"


def main(folder: Path) -> None:
    train, held_out = map(Dataset.open, builtin.task("desk"))
    train.check("mistral").raise_if_bad()
    with Client(targets=TARGETS, home=folder / "home", egress="none") as client:
        plan = client.plan("ours", train)
        assert plan.destinations == ()
        print(plan.request["figures"])
        client.submit("base", train)
        job = client.submit("ours", train)
        for event in job.events():
            if event.kind == "status":
                print(f"  {event.message}")
        model = client.attach(str(job.ref)).result()  # as another process would, tomorrow
        print(client.compare(["base", "ours"], held_out, training=train))
        print(f"\nWhere is my parcel? -> {model.chat('Where is my parcel?').text}")
        written = model.export("merged", folder / "ours")
        print(f"for other servers: {', '.join(sorted(file.name for file in written.iterdir()))}")


if __name__ == "__main__":
    warnings.simplefilter("ignore", AdaptkitWarning)
    apart = ["unshare", "--net", "--map-root-user"]
    if INSIDE not in os.environ and shutil.which("unshare") and not subprocess.call([*apart, "true"]):
        sys.exit(subprocess.call([*apart, sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}))
    print(f"another machine: {no_way_out()}")
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))
