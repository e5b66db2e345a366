"""A request that costs money: sent once, and looked for by its tag when its answer is lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from adaptkit.adapter import Guarantee
from adaptkit.errors import AdaptkitWarning, ServiceError, SubmissionUncertain
from adaptkit.retry import CREATE, READ, attempt
from adaptkit.steps import Pause, Steps

__all__ = ["PaidRequest"]

#: Pauses before looking again for what a request without an answer made, seconds, cut at the host's settling time.
LOOK_AGAIN = (2.0, 5.0, 15.0, 60.0, 120.0)
#: How often a request is sent with the same tag, where that is safe.
SENDS = 3


class _Tagged(Protocol):
    @property
    def tag(self) -> str | None: ...


HeardT = TypeVar("HeardT", bound=_Tagged)
DoneT = TypeVar("DoneT")


@dataclass(frozen=True)
class PaidRequest(Generic[HeardT, DoneT]):
    """One paid request, and how to learn what became of it.

    Attributes:
        what: What it makes, for messages: ``job`` or ``deployment``.
        backend: Name of the backend.
        tag: What it carries.
        guarantee: What holds when its answer is lost; see `adaptkit.adapter.Adapter`.
        settle_seconds: How long what it made may be missing from what `find` lists.
        find: Lists what may carry a tag; ``None`` where the host cannot be searched.
        id_of: The host's id of what was found.
        send: Announces the request in the journal, sends it and records the answer: one call, so that a cancelled
            coroutine cannot come in between. Told whether an earlier request with this tag may have run.
        record: Records what was found.
        doubt: Records that nothing was found.
        advice: What the user can do then.
    """

    what: str
    backend: str
    tag: str
    guarantee: Guarantee
    settle_seconds: float
    find: Callable[[str], Sequence[HeardT]] | None
    id_of: Callable[[HeardT], str]
    send: Callable[[bool], DoneT]
    record: Callable[[HeardT], DoneT]
    doubt: Callable[[], object]
    advice: str

    def steps(self, *, in_doubt: bool = False) -> Steps[DoneT]:
        """Send, and give what was recorded.

        Args:
            in_doubt: Whether an earlier request with this tag may have run, and was looked for.

        Raises:
            SubmissionUncertain: the answer was lost and nothing was found.
            BackendError: the host refused, or could not be reached.
        """
        for sends_left in reversed(range(SENDS)):
            try:
                return (yield from attempt(partial(self.send, in_doubt), CREATE))
            except ServiceError as lost:
                found = yield from self.recovered(lost)
                if found is not None:
                    return found
                if not sends_left:
                    raise
                in_doubt = True
        raise AssertionError  # the last turn returns or raises

    def recovered(self, lost: ServiceError | None = None) -> Steps[DoneT | None]:
        """What a request without an answer made; ``None`` where sending the same tag again is safe.

        Raises:
            SubmissionUncertain: nothing was found, and sending again would not be safe.
        """
        found = yield from self._look()
        if found is not None:
            recorded: DoneT = yield partial(self.record, found)
            return recorded
        if self.guarantee != "exactly_once":
            yield self.doubt
            raise self._uncertain() from lost
        return None

    def _look(self) -> Steps[HeardT | None]:
        """Look until the settling time is over; what the host lists is compared again here."""
        if self.find is None:
            return None
        waited, pauses = 0.0, iter(LOOK_AGAIN)
        while True:
            listed = yield from attempt(partial(self.find, self.tag), READ)
            ours = [heard for heard in listed if heard.tag == self.tag]
            if len(ours) > 1:
                others = ", ".join(map(self.id_of, ours[1:]))
                warnings.warn(
                    f"backend {self.backend} has {len(ours)} {self.what}s with tag {self.tag}; {self.id_of(ours[0])} "
                    f"is used, look at {others} and stop what should not run",
                    AdaptkitWarning,
                    stacklevel=2,
                )
            if ours:
                return ours[0]
            pause = min(next(pauses, LOOK_AGAIN[-1]), self.settle_seconds - waited)
            if pause <= 0:
                return None
            yield Pause(pause)
            waited += pause

    def _uncertain(self) -> SubmissionUncertain:
        looked = f"no {self.what} with tag {self.tag} was found within {self.settle_seconds:g} s"
        if self.find is None:
            looked = f"the backend cannot be searched; look for tag {self.tag} in its console"
        return SubmissionUncertain(
            f"the request was sent and its answer was lost; {looked}. It is not sent again by itself. {self.advice}",
            tag=self.tag,
            backend=self.backend,
        )
