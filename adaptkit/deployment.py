"""`Deployment`: the handle of a model that its host keeps running, and bills, until it is stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from adaptkit import hosting, steps
from adaptkit.adapter import ChatOptions
from adaptkit.errors import DeploymentFailed
from adaptkit.hosting import DeploymentState
from adaptkit.model import Conversation, Model
from adaptkit.types import DeploymentRef, DeploymentSnapshot, ModelRef, Reply

__all__ = ["Deployment"]


class Deployment:
    """A model kept running. ``client.deployment(str(deployment.ref))`` finds the same one in any process.

    As a context manager it waits until it answers, and stops it at the end whatever happened, Ctrl-C included:

    ```python
    with model.deploy(confirm_spend=True) as running:
        running.chat("Where is my parcel?")
    ```

    Properties are memory; `refresh` makes at most one request.
    """

    def __init__(self, state: DeploymentState, timeout: float | None = None) -> None:
        self._state, self._timeout = state, timeout

    def __repr__(self) -> str:
        return f"<Deployment {self.ref} {self.status}>"

    def __enter__(self) -> Self:
        try:
            self.wait(self._timeout)
        except BaseException:
            self.stop()  # nobody will leave a block that was never entered
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def id(self) -> str:
        """The host's own id; the tag of its request as long as the host has not been heard."""
        return self._state.ref.id

    @property
    def ref(self) -> DeploymentRef:
        """The reference; ``str(deployment.ref)`` is one line of text."""
        return self._state.ref

    @property
    def status(self) -> str:
        """What was last heard: ``starting``, ``ready``, ``stopping``, ``stopped``, ``failed`` or ``unknown``."""
        return self._state.snapshot.status

    @property
    def raw_status(self) -> str:
        """The host's own word; ``requested`` or ``answer lost`` as long as the host has not been heard."""
        return self._state.snapshot.raw_status

    @property
    def snapshot(self) -> DeploymentSnapshot:
        """All that was last heard."""
        return self._state.snapshot

    @property
    def hourly_usd(self) -> float | None:
        """US dollars an hour by the host, else of one replica by adaptkit's dated table; ``None`` when unknown."""
        return self._state.snapshot.hourly_usd

    @property
    def since(self) -> datetime | None:
        """When it was asked for, in UTC; ``None`` for a deployment that the journal does not know."""
        record = self._state.record
        return None if record is None else datetime.fromtimestamp(record.created_at, UTC)

    @property
    def reused(self) -> bool:
        """Whether `Model.deploy` found it instead of starting it."""
        return self._state.reused

    @property
    def model(self) -> Model:
        """The model as it answers through this deployment.

        Raises:
            DeploymentFailed: it was found by its reference alone and not asked yet which model it is of.
        """
        state, heard = self._state, self._state.snapshot
        if not heard.model_id:
            raise DeploymentFailed(f"{self.ref} was not asked yet; refresh() first", ref=self.ref, snapshot=heard)
        ref = ModelRef(backend=self.ref.backend, id=heard.answers_as or heard.model_id, target=self.ref.target)
        return Model(ref, state.open_adapter(), lambda: state.journal, state.clock)

    def refresh(self) -> str:
        """Ask once how it stands; asks nothing once it is stopped.

        Raises:
            BackendError: asking failed, which says nothing about the deployment.
        """
        self._state.refresh()
        return self.status

    def wait(self, timeout: float | None = None) -> Self:
        """Ask until it answers.

        Args:
            timeout: Seconds to wait at most, or ``None`` for as long as it takes.

        Raises:
            DeploymentFailed: it has failed, or was stopped.
            DeploymentTimeout: it is not ready in time; it goes on starting, and may cost money.
            BackendError: asking failed for a reason that waiting does not cure.
        """
        steps.run(hosting.wait(self._state, timeout), self._state.clock)
        return self

    def chat(self, messages: Conversation, options: ChatOptions | None = None, **settings: Any) -> Reply:
        """As `Model.chat`, through this deployment."""
        return self._answering().chat(messages, options, **settings)

    def stream(self, messages: Conversation, options: ChatOptions | None = None, **settings: Any) -> Iterator[str]:
        """As `Model.stream`, through this deployment."""
        return self._answering().stream(messages, options, **settings)

    def generate(
        self, conversations: Sequence[Conversation], options: ChatOptions | None = None, **settings: Any
    ) -> list[Reply]:
        """As `Model.generate`, through this deployment."""
        return self._answering().generate(conversations, options, **settings)

    def stop(self) -> None:
        """Stop it for good; one that is stopped stays so. It is listed until the host says that it is gone.

        One whose request was never answered is looked for once more, and given up if it is not found.

        Raises:
            DeploymentFailed: it could not be stopped; the message says what goes on costing how much.
        """
        steps.run(hosting.stop(self._state), self._state.clock)

    def _answering(self) -> Model:
        if not self._state.snapshot.model_id:
            self.refresh()
        return self.model
