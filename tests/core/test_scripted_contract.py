"""The scripted backend keeps the contract, and the contract notices those who do not."""

import functools
import sys
from typing import ClassVar

import pytest

from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from adaptkit.testing.contract import AdapterContract, check_adapter


class _Scripted(AdapterContract):
    """The factories; the classes below choose what the service offers."""

    __test__ = False
    service: ClassVar[ScriptedService]
    settings: ClassVar[dict] = {}

    def config(self):
        return ScriptedConfig(service=self.service.name, api_key_env="SCRIPTED_KEY", **self.settings)

    def long_config(self):
        return self.config().model_copy(update={"states": ("queued", "running")})

    def failing_config(self):
        config = self.config().model_copy(update={"states": ("queued", "failed"), "message": "line 7 is not polite"})
        return config, "line 7 is not polite"

    def remote_config(self):
        return self.config().model_copy(update={"hosts": ("api.example.com",)})

    def say_unknown_status(self, job):
        self.service.tell(job.id, "contemplating")

    def break_next_poll(self):
        self.service.next("poll", "broken")

    def clock(self):
        return FakeClock()

    @classmethod
    def start(cls):
        cls.service = ScriptedService(cls._stage.home / "service.db")

    @classmethod
    def stop(cls):
        cls.service.close()


class TestReconcilable(_Scripted):
    pass


class TestExactlyOnce(_Scripted):
    settings: ClassVar[dict] = {"guarantee": "exactly_once"}


class TestManual(_Scripted):
    settings: ClassVar[dict] = {"guarantee": "at_most_once_manual"}


class TestBornFinished(_Scripted):
    settings: ClassVar[dict] = {"states": ("succeeded",)}


def _weak(**members):
    return type("Weak", (_Scripted,), {"__test__": False, **members})


GUARD = AdapterContract.test_contract_is_not_weakened


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"test_cancel_twice": lambda self: None}, "test_cancel_twice is overridden"),
        ({"gaps": {"test_cancel_thrice": "there is no such thing"}}, "no test of the contract"),
        ({"gaps": {"test_cancel_twice": ""}}, "needs a reason"),
        ({"gaps": {"test_contract_is_not_weakened": "it is in the way"}}, "cannot be a gap"),
        ({"pytestmark": pytest.mark.skip(reason="tired")}, "the class is marked skip"),
        ({"pytestmark": [pytest.mark.xfail(reason="tired")]}, "the class is marked xfail"),
        ({"test_cancel_twice": pytest.mark.skip(reason="no")(lambda self: None)}, "test_cancel_twice is overridden"),
    ],
)
def test_weakening_is_a_failure(members, words):
    with pytest.raises(AssertionError, match=words):
        GUARD(_weak(**members)())


def test_marking_a_shared_test_is_a_failure():
    kind = _weak()

    @functools.wraps(AdapterContract.test_cancel_twice)
    def skipped(self):
        pass

    kind.test_cancel_twice = pytest.mark.skip(reason="tired")(skipped)
    with pytest.raises(AssertionError, match="test_cancel_twice is marked"):
        GUARD(kind())


def test_a_gap_with_a_reason_is_a_strict_xfail():
    kind = _weak(gaps={"test_cancel_twice": "the service forgets whom it cancelled"})
    GUARD(kind())
    (mark,) = kind.test_cancel_twice.pytestmark
    assert mark.name == "xfail"
    assert mark.kwargs == {"strict": True, "reason": "the service forgets whom it cancelled"}
    assert not hasattr(AdapterContract.test_cancel_twice, "pytestmark"), "the mark is this class's alone"


def test_check_adapter_says_what_does_not_hold_and_what_has_healed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)  # it does without

    class Lying(_Scripted):
        __test__ = False
        gaps: ClassVar[dict] = {"test_cancel_twice": "this used to be broken"}

        def failing_config(self):
            return self.config(), "words that nobody says"

    found = {finding.test: finding.reason for finding in check_adapter(Lying)}
    assert found.keys() == {"test_cancel_twice", "test_failure_carries_the_services_words"}
    assert "passes now" in found["test_cancel_twice"]
    assert "JobFailed was not raised" in found["test_failure_carries_the_services_words"]
