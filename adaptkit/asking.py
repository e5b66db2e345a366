"""How a question is put to a model, given what the model takes: what it does not take is said in words or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from adaptkit.adapter import Abilities, ChatOptions
from adaptkit.documents import with_documents
from adaptkit.errors import AnswerError, UnsupportedError
from adaptkit.steps import Request, Steps
from adaptkit.structured import Form, Misfit, complaint, form_of, parsed
from adaptkit.types import Document, Message, Reply

__all__ = ["Asking"]


@dataclass(frozen=True)
class Asking:
    """What is asked of a model, whatever the conversation.

    Attributes:
        options: What the adapter gets to know.
        form: What the answer is checked against, if anything.
        told: Whether the form is told in words.
        documents: Documents that are written into the conversation.
    """

    options: ChatOptions
    form: Form | None = None
    told: bool = False
    documents: tuple[Document, ...] = ()

    @classmethod
    def of(cls, options: ChatOptions, schema: Any, takes: Abilities, who: str) -> Asking:
        """Compare what is wanted with what the model takes.

        Args:
            options: What is wanted.
            schema: The form of the answer, in front of that of the options and that of the model.
            takes: What the model takes.
            who: Whose model, for the message.

        Raises:
            UnsupportedError: tools or citations are asked of a model that has none.
        """
        refused = [name for name in ("tools", "citations") if getattr(options, name) and not getattr(takes, name)]
        if refused:
            raise UnsupportedError(f"models of {who} take no {' and no '.join(refused)} here; nothing was sent")
        wanted = next((each for each in (schema, options.schema, takes.answers) if each is not None), None)
        form = None if wanted is None else form_of(wanted)
        written = () if takes.documents else options.documents
        options = msgspec.structs.replace(
            options,
            schema=form.schema if form is not None and takes.schema else None,
            documents=options.documents if takes.documents else (),
        )
        return cls(options, form, form is not None and not takes.schema, written)

    def messages(self, conversation: Sequence[Message]) -> tuple[Message, ...]:
        """A conversation with what has to be said in words."""
        turns = with_documents(conversation, self.documents)
        return self.form.instructing(turns) if self.form is not None and self.told else tuple(turns)

    def answer(
        self, conversation: Sequence[Message], ask: Callable[[Sequence[Message], ChatOptions], Request]
    ) -> Steps[Reply]:
        """Ask, check the answer, and ask once more where it does not keep the form.

        Raises:
            AnswerError: there is no answer of that form.
        """
        messages = self.messages(conversation)
        reply: Reply = yield ask(messages, self.options)
        if self.form is None:
            return reply
        try:
            return parsed(reply, self.form)
        except Misfit as misfit:
            better = (*messages, Message(role="assistant", content=reply.text or "…"), complaint(misfit))
        again: Reply = yield ask(better, self.options)
        again = msgspec.structs.replace(again, usage=reply.usage + again.usage)
        try:
            return parsed(again, self.form)
        except Misfit as misfit:
            raise AnswerError(
                f"the answer does not keep the schema, also when asked again: {misfit}", reply=again
            ) from None
