"""Training on one's own machines: the contract, stages as one job, kills, every method and kind of weights."""

from __future__ import annotations

from typing import ClassVar

from adaptkit.backends.mistral import MistralConfig
from adaptkit.testing.contract import AdapterContract

LOCAL = {
    "test_unknown_status_does_not_crash": "the states of a local job are adaptkit's own, and all of them are known",
    "test_transient_poll_error_keeps_the_status": "asking after a local job reads a file, with no network to fail",
}


class OnTheCluster(AdapterContract):
    __test__ = False
    gaps: ClassVar = LOCAL
    run: ClassVar[dict[str, object]] = {}

    def made(self, **given: object) -> MistralConfig:
        return MistralConfig.model_validate(
            {"model": "builtin:tiny", "weights": "lora", "rank": 4, "run": self.run, **given}
        )

    def config(self) -> MistralConfig:
        return self.made(epochs=1)

    def long_config(self) -> MistralConfig:
        return self.made(epochs=500)

    def failing_config(self) -> tuple[MistralConfig, str]:
        return self.made(epochs=4, learning_rate=1e30, warmup=0.0), "diverged"

    def remote_config(self) -> MistralConfig:
        return self.made(model="some-org/some-model")


class TestOneProcess(OnTheCluster):
    pass


class TestTwoProcesses(OnTheCluster):
    run: ClassVar = {"processes_per_node": 2}
