"""`Model`: the handle of something that answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit import hosting, steps
from adaptkit.adapter import (
    Abilities,
    Adapter,
    ChatOptions,
    SupportsAbilities,
    SupportsArchive,
    SupportsAsyncChat,
    SupportsChat,
    SupportsDeleteModel,
    SupportsDownload,
    SupportsExport,
    SupportsGenerate,
    SupportsLikelihood,
    SupportsRename,
    SupportsShutdownDate,
    SupportsStream,
    SupportsVersion,
)
from adaptkit.asking import Asking
from adaptkit.data import message_from
from adaptkit.errors import UnsupportedError
from adaptkit.hosting import DeploymentState
from adaptkit.journal import Journal
from adaptkit.steps import Clock, Request, Steps
from adaptkit.types import Likelihood, Message, ModelRef, Reply

if TYPE_CHECKING:
    from adaptkit.batch_cost import BatchCost
    from adaptkit.data import Record
    from adaptkit.deployment import Deployment
    from adaptkit.evidence.results import Comparison
    from adaptkit.job import Job
    from adaptkit.state import JobState

__all__ = ["Conversation", "Model", "messages_of"]

#: A question as text, or messages as structs or in OpenAI's shape.
Conversation = str | Sequence[Message | Mapping[str, Any]]


def messages_of(conversation: Conversation) -> tuple[Message, ...]:
    """A conversation as messages.

    Raises:
        DataError: something in it is no message.
    """
    if isinstance(conversation, str):
        return (Message(role="user", content=conversation),)
    return tuple(turn if isinstance(turn, Message) else message_from(turn) for turn in conversation)


class Model:
    """A model that answers. ``client.model(str(model.ref))`` opens the same one in any process."""

    def __init__(self, ref: ModelRef, adapter: Adapter[Any], journal: Callable[[], Journal], clock: Clock) -> None:
        self._ref, self._adapter = ref, adapter
        self._journal, self._clock = journal, clock

    def __repr__(self) -> str:
        return f"<Model {self.ref}>"

    @property
    def id(self) -> str:
        """The backend's own id of the model."""
        return self._ref.id

    @property
    def ref(self) -> ModelRef:
        """The reference; ``str(model.ref)`` is one line of text."""
        return self._ref

    @property
    def account(self) -> str:
        """Which account of the backend is asked; never a key."""
        return self._adapter.account

    @property
    def together(self) -> int:
        """How many conversations `generate` answers quickest in one go; 1 where each is a request of its own."""
        return self._adapter.together(self.id) if isinstance(self._adapter, SupportsGenerate) else 1

    def version(self) -> str:
        """What answers by now, where that can change behind the id, without asking anybody; else empty."""
        return self._adapter.version(self.id) if isinstance(self._adapter, SupportsVersion) else ""

    def _cannot(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"models of the {self._ref.backend} backend cannot {what}")

    def abilities(self) -> Abilities:
        """What the model takes beyond messages, without asking anybody."""
        return self._adapter.abilities(self.id) if isinstance(self._adapter, SupportsAbilities) else Abilities()

    def chat(
        self, messages: Conversation, options: ChatOptions | None = None, *, schema: Any = None, **settings: Any
    ) -> Reply:
        """Answer one conversation: one request, and a second where an answer does not keep the schema.

        Args:
            messages: A question, or the conversation so far.
            options: How to answer.
            schema: What form the answer has: a JSON Schema, or a type that pydantic reads; ``Reply.parsed`` is then
                the checked value.
            **settings: Fields of `ChatOptions`, for those who prefer ``max_tokens=50`` to an object.

        Raises:
            UnsupportedError: this model does not chat, or not like this; nothing was sent.
            AnswerError: the answer does not keep the schema, also when asked again; carries it with its cost.
            BackendError: the service failed.
        """
        return steps.run(self._chat(messages, options, schema, settings), self._clock)

    def stream(
        self, messages: Conversation, options: ChatOptions | None = None, *, schema: Any = None, **settings: Any
    ) -> Iterator[str]:
        """The same answer piece by piece; arguments as for `chat`. A schema is asked for, and not checked."""
        if not isinstance(self._adapter, SupportsStream):
            raise self._cannot("stream")
        asking = self._asking(options, schema, settings)
        return self._adapter.stream(self.id, asking.messages(messages_of(messages)), asking.options)

    def generate(
        self,
        conversations: Sequence[Conversation],
        options: ChatOptions | None = None,
        *,
        schema: Any = None,
        **settings: Any,
    ) -> list[Reply]:
        """Answer many conversations, in their order: together where the backend can, else one by one."""
        turns = [messages_of(conversation) for conversation in conversations]
        asking = self._asking(options, schema, settings)
        if isinstance(self._adapter, SupportsGenerate) and asking.form is None:
            return self._adapter.generate(self.id, [asking.messages(asked) for asked in turns], asking.options)
        ask = self._chats()
        return [steps.run(asking.answer(conversation, ask), self._clock) for conversation in turns]

    def likelihood(self, conversations: Sequence[Conversation]) -> list[Likelihood]:
        """How likely the model holds the last turn of each conversation, which the assistant says.

        Raises:
            UnsupportedError: the backend does not tell.
            DataError: a conversation does not end with the assistant, or is too long.
        """
        if not isinstance(self._adapter, SupportsLikelihood):
            raise self._cannot("tell how likely an answer is")
        return self._adapter.likelihood(self.id, [messages_of(conversation) for conversation in conversations])

    def batch(
        self,
        questions: Iterable[Record | Conversation],
        options: ChatOptions | None = None,
        *,
        fresh: bool = False,
        budget: float | None = None,
        **settings: Any,
    ) -> Job:
        """Have many questions answered within a day, at the vendor's lower price, as a job that outlives this process.

        Get or create: the same questions to the same model are one batch. `Job.answers` has what came of it. What
        `Client.map` or another batch has answered before is not asked again; with every answer there, the job has
        ended and nothing is sent.

        Args:
            questions: A `Dataset` or conversations, as for `Client.map`.
            options: How to answer.
            fresh: Send a new batch of all questions even where one runs or has succeeded, or answers are there.
            budget: US dollars that a new batch may cost at most, as `batch_cost` tells it.
            **settings: Fields of `ChatOptions`, instead of ``options``.

        Returns:
            The job, once the vendor has accepted it; ``job.reused`` says whether it was there already.

        Raises:
            UnsupportedError: this model takes no batches, or the vendor not these; nothing was sent.
            DataError: questions cannot be asked; all of them are named.
            SpendError: it may cost more than the budget, or nobody knows what it costs; nothing was sent.
            SubmissionUncertain: the paid request's answer was lost and no batch was found; nothing is sent twice.
            BackendError: the vendor refused.
        """
        from adaptkit.job import Job  # noqa: PLC0415 - which makes models

        chosen = options or ChatOptions(**settings)
        return Job(steps.run(self._batch(questions, chosen, fresh=fresh, budget=budget), self._clock))

    def batch_cost(
        self,
        questions: Iterable[Record | Conversation],
        options: ChatOptions | None = None,
        *,
        fresh: bool = False,
        **settings: Any,
    ) -> BatchCost:
        """What `batch` would cost at most, by the table of prices; sends and records nothing.

        Takes what `batch` takes. Without ``max_tokens`` nobody knows how long answers are, so the cost is unknown.

        Raises:
            UnsupportedError, DataError: as for `batch`.
        """
        from adaptkit import batches  # noqa: PLC0415 - which asks a model

        return batches.cost(self, self._adapter, questions, options or ChatOptions(**settings), fresh=fresh)

    def export(self, format: str, path: str | os.PathLike[str]) -> Path:  # noqa: A002 - the field's standard term
        """Write the model for another program to serve.

        Args:
            format: Such as ``merged``, ``gguf`` or ``ollama``.
            path: Folder that does not exist yet, or is empty.

        Returns:
            The path written.

        Raises:
            UnsupportedError: the backend has no such format.
        """
        if not isinstance(self._adapter, SupportsExport):
            raise self._cannot("be exported")
        return self._adapter.export(self.id, format, Path(path))

    def download(self, path: str | os.PathLike[str]) -> Path:
        """Copy the weights as they are into a folder that does not exist yet, or is empty; gives the folder."""
        if not isinstance(self._adapter, SupportsDownload):
            raise self._cannot("be downloaded")
        return self._adapter.download(self.id, Path(path))

    def rename(self, name: str, description: str | None = None) -> None:
        """Give the model another name for people; its id, and so its reference, stays as it is.

        Args:
            name: The name.
            description: What it is for; ``None`` leaves what is there.
        """
        if not isinstance(self._adapter, SupportsRename):
            raise self._cannot("be renamed")
        self._adapter.rename(self.id, name, description)

    def archive(self) -> None:
        """Put the model away: it no longer answers, and can be taken out again."""
        self._archiving().archive(self.id)

    def unarchive(self) -> None:
        """Take the model out again."""
        self._archiving().unarchive(self.id)

    def _archiving(self) -> SupportsArchive:
        if not isinstance(self._adapter, SupportsArchive):
            raise self._cannot("be archived")
        return self._adapter

    def delete(self) -> None:
        """Delete the model for good."""
        if not isinstance(self._adapter, SupportsDeleteModel):
            raise self._cannot("be deleted")
        self._adapter.delete_model(self.id)

    def deploy(self, *, confirm_spend: bool = False, timeout: float | None = None) -> Deployment:
        """Have the host keep the model running, on what the target's ``deploy`` table names.

        Never implicit and never twice: the deployment of this model that is known to run is given back. It costs money
        until `Deployment.stop`; use it in ``with``, or find it again in ``client.deployments()``.

        Args:
            confirm_spend: Must be said.
            timeout: Seconds that entering ``with`` waits for it to be ready.

        Returns:
            The deployment, once the host has accepted it; ``deployment.reused`` says whether it ran already.

        Raises:
            SpendError: ``confirm_spend`` was not said; the message has the price, if known. Nothing was sent.
            SubmissionUncertain: the paid request's answer was lost and no deployment was found; nothing is sent twice.
            UnsupportedError: models of this backend are not deployed.
            BackendError: the host refused.
        """
        from adaptkit.deployment import Deployment  # noqa: PLC0415 - which answers through a model

        return Deployment(steps.run(self._deploy(confirm_spend=confirm_spend), self._clock), timeout)

    def card(self, comparison: Comparison | None = None) -> str:
        """A model card in Hugging Face's form: what it was made from and how, and what was measured.

        Args:
            comparison: One in which this model took part; its figures go into the card.

        Returns:
            Markdown with YAML in front; nothing of the data, and no path of this machine.

        Raises:
            ConfigError: the model did not take part in the comparison.
        """
        from adaptkit.evidence.card import card  # noqa: PLC0415 - for those who write one

        return card(self.ref, self._adapter, self._journal(), comparison)

    def shutdown_date(self) -> date | None:
        """The day from which the model no longer answers, ``None`` if none is set or the backend tells none.

        Raises:
            BackendError: asking failed.
        """
        if not isinstance(self._adapter, SupportsShutdownDate):
            return None
        return self._adapter.shutdown_date(self.id)

    def _chats(self) -> Callable[[Sequence[Message], ChatOptions], Request]:
        adapter = self._adapter
        if not isinstance(adapter, SupportsChat):
            raise self._cannot("chat")
        chat = partial(adapter.chat, self.id)
        achat = partial(adapter.achat, self.id) if isinstance(adapter, SupportsAsyncChat) else None
        return lambda messages, options: Request(
            partial(chat, messages, options), None if achat is None else partial(achat, messages, options)
        )

    def _asking(self, options: ChatOptions | None, schema: Any, settings: Mapping[str, Any]) -> Asking:
        return Asking.of(
            options or ChatOptions(**settings), schema, self.abilities(), f"the {self._ref.backend} backend"
        )

    # what `AsyncModel` shares -------------------------------------------------------------------------------------

    def _batch(
        self, questions: Iterable[Record | Conversation], options: ChatOptions, *, fresh: bool, budget: float | None
    ) -> Steps[JobState]:
        from adaptkit import batches  # noqa: PLC0415 - which asks a model

        asked, journal, clock = (self, self._adapter, questions, options), self._journal(), self._clock
        return batches.submit(*asked, journal=journal, clock=clock, fresh=fresh, budget=budget)

    def _chat(
        self, messages: Conversation, options: ChatOptions | None, schema: Any, settings: Mapping[str, Any]
    ) -> Steps[Reply]:
        asking = self._asking(options, schema, settings)
        return (yield from asking.answer(messages_of(messages), self._chats()))

    def _deploy(self, *, confirm_spend: bool) -> Steps[DeploymentState]:
        return hosting.deploy(self.ref, self._adapter, self._journal(), self._clock, confirmed=confirm_spend)
