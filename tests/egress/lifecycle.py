"""The whole local lifecycle as a program; `test_namespace` runs it where no packet can leave."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from adaptkit import Client, Dataset
from adaptkit.builtin import task


def reached(host: str, port: int) -> str:
    """What comes of a connection: the error's name, or ``connected``."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError as error:
        return type(error).__name__ if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return "connected"


def main(home: Path) -> dict[str, object]:
    """Data, check, plan, submit, wait, chat: by training and by prompting."""
    said: dict[str, object] = {"address": reached("192.0.2.1", 443), "name": reached("huggingface.co", 443)}
    data = Dataset.of(list(Dataset.open(task("tags").train))[:16])
    data.check("lora").raise_if_bad()
    targets = {
        "trained": {"backend": "lora", "epochs": 1, "batch_size": 8, "rank": 2},
        "prompted": {"backend": "prompt", "examples": 2},
    }
    with Client(targets=targets, home=home, egress="none") as client:
        for target in targets:
            assert client.plan(target, data).destinations == ()
            job = client.submit(target, data)
            said[target] = job.wait(timeout=240)
            model = client.model(str(job.result().ref))
            reply = model.chat("Where is my parcel?", max_tokens=6)
            assert reply.usage.output_tokens > 0
            assert "".join(model.stream("Where is my parcel?", max_tokens=6)) == reply.text
    return said


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
