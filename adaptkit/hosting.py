"""The life of a deployment, written once for both colours: started once, waited for, stopped.

A deployment costs money every hour, used or not. So the journal knows of it before the host does: its record says
``requested`` from before the one paid request until the host has been heard, and whoever finds it so looks for the tag
(`adaptkit.paid`) and sends nothing where that would not be safe.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from adaptkit.adapter import Adapter, SupportsDeploy
from adaptkit.errors import (
    AdaptkitError,
    AdaptkitWarning,
    BackendError,
    DeploymentFailed,
    DeploymentTimeout,
    NotFoundError,
    ServiceError,
    SpendError,
    UnsupportedError,
)
from adaptkit.estimate import hosting_price
from adaptkit.journal import DeploymentRecord, Journal
from adaptkit.paid import PaidRequest
from adaptkit.prices import Prices
from adaptkit.retry import READ, attempt
from adaptkit.steps import Clock, Steps
from adaptkit.types import DeploymentRef, DeploymentSnapshot, ModelRef
from adaptkit.waiting import pace, until

__all__ = ["DeploymentState", "deploy", "deploying_adapter", "stop", "wait"]

#: States that lead to no answer any more.
_OVER = ("stopping", "stopped", "failed")


@dataclass
class DeploymentState:
    """What is remembered of one deployment between requests.

    Attributes:
        ref: Its reference; the id is the tag as long as the host has not been heard.
        open_adapter: Gives the adapter; called at the first request.
        journal: Where changes are recorded.
        clock: Time.
        record: The journal's record, or ``None`` for a deployment that the journal does not know.
        snapshot: What was last heard.
        reused: Whether `deploy` found it instead of starting it.
    """

    ref: DeploymentRef
    open_adapter: Callable[[], Adapter[Any]]
    journal: Journal
    clock: Clock
    record: DeploymentRecord | None
    snapshot: DeploymentSnapshot
    reused: bool = False

    @classmethod
    def of(
        cls, record: DeploymentRecord, open_adapter: Callable[[], Adapter[Any]], journal: Journal, clock: Clock
    ) -> DeploymentState:
        """The state that the journal holds."""
        return cls(_ref(record), open_adapter, journal, clock, record, _snapshot(record))

    @property
    def is_heard(self) -> bool:
        """Whether the host has been heard of it; else its request may or may not have run."""
        return self.record is None or self.record.deployment_id is not None

    def refresh(self) -> None:
        """Ask once how it stands, unless it is stopped; where the host was not heard yet, look for the tag once."""
        if self.snapshot.status == "stopped":
            return
        adapter = deploying_adapter(self.open_adapter())
        if not self.is_heard:
            found = [heard for heard in adapter.find_deployments(self.ref.id) if heard.tag == self.ref.id]
            if found:
                self.hear(found[0])
            return
        try:
            self.hear(adapter.deployment(self.ref.id))
        except NotFoundError:
            if not self._may_be_listed_late():
                self.gone()

    def _may_be_listed_late(self) -> bool:
        """Whether it was started so recently that a host which does not know it yet is no proof that it is gone."""
        settled = 0.0 if self.record is None else self.record.created_at + self.open_adapter().settle_seconds
        return self.snapshot.status == "starting" and self.clock.time() < settled

    def gone(self) -> None:
        """Record that the host has no such deployment."""
        self.hear(msgspec.structs.replace(self.snapshot, status="stopped", raw_status="gone"))

    def hear(self, heard: DeploymentSnapshot) -> None:
        """Record what the host said."""
        self.snapshot = heard
        if self.record is not None:
            self.record = self.journal.deployments.hear(self.record.id, heard, now=self.clock.time())
            self.ref, self.snapshot = _ref(self.record), _snapshot(self.record)

    def give_up(self) -> None:
        """Record that a deployment which nobody found is not looked for any more."""
        if self.record is not None:
            self.record = self.journal.deployments.end(self.record.id, "given up", None, now=self.clock.time())
            self.ref, self.snapshot = _ref(self.record), _snapshot(self.record)

    @property
    def cost(self) -> str:
        """What it costs, for messages."""
        usd = self.snapshot.hourly_usd
        return "at a price that is not known here" if usd is None else f"${usd:,.2f} an hour"


def _ref(record: DeploymentRecord) -> DeploymentRef:
    return DeploymentRef(backend=record.backend, id=record.deployment_id or record.tag, target=record.target)


def _snapshot(record: DeploymentRecord) -> DeploymentSnapshot:
    return DeploymentSnapshot(
        id=record.deployment_id or record.tag,
        model_id=record.model_id,
        status="unknown" if record.status == "requested" else record.status,
        raw_status=record.raw_status or record.status,
        tag=record.tag,
        answers_as=record.answers_as,
        hourly_usd=record.hourly_usd,
        message=record.message,
    )


def deploying_adapter(adapter: Adapter[Any]) -> SupportsDeploy:
    """The adapter as one that deploys.

    Raises:
        UnsupportedError: it does not.
    """
    if not isinstance(adapter, SupportsDeploy):
        raise UnsupportedError(f"models of the {adapter.backend} backend cannot be deployed")
    return adapter


# starting ---------------------------------------------------------------------------------------------------------


def deploy(
    model: ModelRef, adapter: Adapter[Any], journal: Journal, clock: Clock, *, confirmed: bool
) -> Steps[DeploymentState]:
    """Get or start the deployment of a model; returns once the host has accepted it.

    Raises:
        UnsupportedError: models of this backend cannot be deployed.
        SpendError: nobody has confirmed that it may cost money.
        SubmissionUncertain: the paid request's answer was lost and no deployment was found.
        BackendError: the host refused.
    """
    host = deploying_adapter(adapter)
    price = hosting_price(adapter.config, Prices(adapter.context.prices))
    if not confirmed:
        costs = "at a price that is not known here" if price is None else f"${price.usd:,.2f} an hour and replica"
        source = "" if price is None else f" ({price.source}, {price.date})"
        raise SpendError(
            f"deploying {model.id} costs money until it is stopped, used or not: {costs}{source}. Confirm it with "
            "model.deploy(confirm_spend=True), or adaptkit deploy --confirm-spend"
        )
    what = {
        "backend": adapter.backend,
        "account": adapter.account,
        "model": model.id,
        "on": adapter.config.model_dump(mode="json").get("deploy"),
    }
    begin = partial(
        journal.deployments.begin,
        identity=hashlib.sha256(msgspec.json.encode(what, order="deterministic")).hexdigest(),
        target=model.target,
        backend=adapter.backend,
        account=adapter.account,
        config=adapter.config.model_dump_json(),
        model_id=model.id,
        hourly_usd=None if price is None else price.usd,
        now=clock.time(),
    )
    while True:
        record, created = yield begin
        state = DeploymentState.of(record, lambda: adapter, journal, clock)
        if not state.is_heard:
            yield from _Starting(state, host, adapter.settle_seconds).steps(in_doubt=not created)
            return state
        yield from _look(state)
        if state.snapshot.status not in _OVER:
            state.reused = True
            return state


@dataclass
class _Starting:
    """One paid request for a deployment whose record was made before."""

    state: DeploymentState
    host: SupportsDeploy
    settle_seconds: float
    in_doubt: bool = False
    said: str | None = field(default=None)

    def steps(self, *, in_doubt: bool) -> Steps[None]:
        """Send, or find out what became of a request that was sent before."""
        self.in_doubt = in_doubt
        record, host = self.state.record, self.host
        assert record is not None  # noqa: S101 - it is begun
        request = PaidRequest[DeploymentSnapshot, bool](
            what="deployment",
            backend=record.backend,
            tag=record.tag,
            guarantee=host.deploy_guarantee,
            settle_seconds=self.settle_seconds,
            find=None if host.deploy_guarantee == "at_most_once_manual" else host.find_deployments,
            id_of=lambda heard: heard.id,
            send=partial(self._send, record),
            record=self._record,
            doubt=lambda: self.state.journal.deployments.doubt(record.id, now=self.state.clock.time()),
            advice="The same deploy looks again; adaptkit deployments --stop TAG gives it up once you are sure that "
            "none runs.",
        )
        try:
            if in_doubt and (yield from request.recovered()):
                self.state.reused = True
                return
            yield from request.steps(in_doubt=in_doubt)
        finally:
            if not self.in_doubt:  # refused, or provably not run, whatever ended the waiting
                self.state.journal.deployments.end(record.id, "refused", self.said, now=self.state.clock.time())

    def _send(self, record: DeploymentRecord, in_doubt: bool) -> bool:
        known = self.state.journal.deployments.get(record.id)
        if known is not None and known.deployment_id is not None:  # another process with the same tag was quicker
            return self._record(_snapshot(known))
        self.in_doubt = True
        try:
            heard = self.host.deploy(record.model_id, record.tag)
        except ServiceError:
            raise
        except AdaptkitError as error:
            self.in_doubt, self.said = in_doubt, str(error)
            raise
        return self._record(heard)

    def _record(self, heard: DeploymentSnapshot) -> bool:
        self.state.hear(heard)
        return True


# waiting ----------------------------------------------------------------------------------------------------------


def _look(state: DeploymentState) -> Steps[None]:
    """Refresh; a transient fault says nothing about the deployment."""
    try:
        yield from attempt(state.refresh, READ)
    except BackendError as error:
        if not error.transient:
            raise


def wait(state: DeploymentState, timeout: float | None) -> Steps[None]:
    """Ask until it answers.

    Raises:
        DeploymentFailed: it will not.
        DeploymentTimeout: it does not answer in time; it goes on starting, and may cost money.
    """

    def ask(asked: int) -> Steps[float]:
        yield from _look(state)
        return pace(asked)

    def late(seconds: float) -> DeploymentTimeout:
        return DeploymentTimeout(
            f"deployment {state.ref.id} of {state.snapshot.model_id} is not ready after {seconds:g} s "
            f"({state.snapshot.raw_status}) and runs on, {state.cost}; it is stopped by "
            f"adaptkit deployments --stop {state.ref.id}",
            ref=state.ref,
            snapshot=state.snapshot,
        )

    yield from until(lambda: state.snapshot.status in ("ready", *_OVER), ask, state.clock, timeout, late)
    if state.snapshot.status != "ready":
        said = state.snapshot.message or state.snapshot.raw_status
        raise DeploymentFailed(
            f"deployment {state.ref.id} of {state.snapshot.model_id} will not answer: {said}",
            ref=state.ref,
            snapshot=state.snapshot,
        )


# stopping ---------------------------------------------------------------------------------------------------------


def stop(state: DeploymentState) -> Steps[None]:
    """Stop it for good, so that it costs nothing.

    Raises:
        DeploymentFailed: it could not be stopped; says what goes on costing how much.
    """
    if state.snapshot.status == "stopped":
        return
    try:
        if not state.is_heard:
            yield from attempt(state.refresh, READ)
        if not state.is_heard:
            yield state.give_up
            warnings.warn(
                f"no deployment with tag {state.ref.id} was found, and it is not looked for any more; should one show "
                f"in the console of backend {state.ref.backend}, delete it there",
                AdaptkitWarning,
                stacklevel=2,
            )
            return
        host = deploying_adapter(state.open_adapter())
        yield from attempt(partial(host.undeploy, state.ref.id), READ)
    except AdaptkitError as error:
        raise DeploymentFailed(
            f"deployment {state.ref.id} of {state.snapshot.model_id} could not be stopped and goes on costing money, "
            f"{state.cost}: {error}. adaptkit deployments --stop {state.ref.id} tries again",
            ref=state.ref,
            snapshot=state.snapshot,
        ) from error
    yield partial(_asked_to_stop, state, host)


def _asked_to_stop(state: DeploymentState, host: SupportsDeploy) -> None:
    """Record that it is on its way out, and what one look shows."""
    try:
        heard = host.deployment(state.ref.id)
    except NotFoundError:
        state.gone()
        return
    except BackendError:
        heard = state.snapshot
    if heard.status != "stopped":
        heard = msgspec.structs.replace(heard, status="stopping")
    state.hear(heard)
