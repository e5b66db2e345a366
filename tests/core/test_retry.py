"""The one retry layer: what is tried again, how often, and how long it waits."""

import pytest

from adaptkit import (
    AuthenticationError,
    BackendError,
    ConnectionFailedError,
    NotFoundError,
    QuotaError,
    RateLimitError,
    ServiceError,
)
from adaptkit.retry import CREATE, MAX_RETRY_AFTER, READ, UPLOAD, attempt
from adaptkit.steps import run
from adaptkit.testing import FakeClock


class Failing:
    """Fails a number of times, then succeeds."""

    def __init__(self, error, times):
        self.error, self.times, self.calls = error, times, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "answer"


TRANSIENT = [ServiceError("x"), ConnectionFailedError("x"), RateLimitError("x")]
FINAL = [AuthenticationError("x"), NotFoundError("x"), QuotaError("x"), BackendError("x"), ValueError("x")]


@pytest.mark.parametrize("policy", [READ, UPLOAD], ids=["read", "upload"])
@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_what_costs_nothing_is_tried_again(policy, error):
    clock, call = FakeClock(), Failing(error, policy.attempts - 1)
    assert run(attempt(call, policy), clock) == "answer"
    assert call.calls == policy.attempts
    assert len(clock.slept) == policy.attempts - 1


@pytest.mark.parametrize("policy", [READ, UPLOAD, CREATE], ids=["read", "upload", "create"])
def test_in_the_end_the_error_is_raised_as_it_is(policy):
    error = ConnectionFailedError("nobody there")
    call = Failing(error, 100)
    with pytest.raises(ConnectionFailedError) as caught:
        run(attempt(call, policy), FakeClock())
    assert caught.value is error
    assert call.calls == policy.attempts


@pytest.mark.parametrize("policy", [READ, UPLOAD, CREATE], ids=["read", "upload", "create"])
@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_what_waiting_does_not_cure_is_said_at_once(policy, error):
    clock, call = FakeClock(), Failing(error, 1)
    with pytest.raises(type(error)):
        run(attempt(call, policy), clock)
    assert call.calls == 1
    assert clock.slept == []


def test_what_costs_money_is_sent_again_only_if_it_never_ran():
    lost = Failing(ServiceError("the answer was lost"), 1)
    with pytest.raises(ServiceError):
        run(attempt(lost, CREATE), FakeClock())
    assert lost.calls == 1
    for error in (ConnectionFailedError("x"), RateLimitError("x")):
        call = Failing(error, 2)
        assert run(attempt(call, CREATE), FakeClock()) == "answer"
        assert call.calls == 3


def test_the_services_own_wish_is_honoured():
    clock = FakeClock()
    run(attempt(Failing(RateLimitError("x", retry_after=17.0), 2), READ), clock)
    assert clock.slept == [17.0, 17.0]


@pytest.mark.parametrize(("wish", "calls"), [(MAX_RETRY_AFTER, 2), (MAX_RETRY_AFTER + 1, 1)])
def test_a_wish_for_too_long_is_the_callers_to_grant(wish, calls):
    call = Failing(RateLimitError("x", retry_after=wish), 1)
    if calls == 1:
        with pytest.raises(RateLimitError):
            run(attempt(call, READ), FakeClock())
    else:
        run(attempt(call, READ), FakeClock())
    assert call.calls == calls


def test_pauses_are_jittered_and_bounded():
    pauses = []
    for _ in range(50):
        clock = FakeClock()
        with pytest.raises(ServiceError):
            run(attempt(Failing(ServiceError("x"), 100), READ), clock)
        pauses.append(clock.slept)
    for number, column in enumerate(zip(*pauses, strict=True)):
        assert max(column) <= 2**number
        assert len(set(column)) > 40, "without jitter everybody comes back at once"
