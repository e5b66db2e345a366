"""The contract that every backend keeps, run against real workers, and the backend through the client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from adaptkit import Client, Dataset, LoraConfig
from adaptkit.adapter import Context, SupportsEstimate
from adaptkit.backends.lora import LoraAdapter
from adaptkit.testing.contract import AdapterContract
from tests.lora.conftest import ROWS


def test_nobody_sends_a_bill_for_this_machine(tmp_path):
    """So that a script with a budget runs here too."""
    adapter = LoraAdapter(LoraConfig(), Context(tmp_path))
    assert isinstance(adapter, SupportsEstimate)
    assert adapter.estimate(None, {}) == 0.0


class TestLora(AdapterContract):
    gaps: ClassVar = {
        "test_unknown_status_does_not_crash": "the states of a local job are adaptkit's own, and all of them are known",
        "test_transient_poll_error_keeps_the_status": "asking after a local job reads a file, with no network to fail",
    }

    def config(self) -> LoraConfig:
        return LoraConfig(epochs=1, rank=4)

    def long_config(self) -> LoraConfig:
        return LoraConfig(epochs=500, rank=4)

    def failing_config(self) -> tuple[LoraConfig, str]:
        return LoraConfig(epochs=4, learning_rate=1e30, warmup=0.0), "diverged"

    def remote_config(self) -> LoraConfig:
        return LoraConfig(model="some-org/some-model")


def test_through_the_client_and_another_process(tmp_path: Path) -> None:
    with Client(targets={"small": LoraConfig(epochs=1, rank=4)}, home=tmp_path) as client:
        job = client.submit("small", Dataset.of(ROWS))
        script = f"""
import sys
from adaptkit import Client
with Client(home={str(tmp_path)!r}) as client:
    print(client.attach({str(job.ref)!r}).result(timeout=90).ref)
"""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert str(client.model(done.stdout.strip()).ref) == str(job.result(timeout=5).ref)
