"""Batches as a backend: its data are questions, and what its jobs give are answers.

So a batch is sent exactly once, found again and followed by what does that for every job. Questions are lowered by
`PromptAdapter.asked`, as a call's are: with examples, passages, schema and what is to be remembered.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from typing import IO, Any, ClassVar, Literal, NamedTuple, cast

import msgspec

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, Context, DataFile, Guarantee, Plan
from adaptkit.answers import Answers
from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig
from adaptkit.backends.rest import account_of
from adaptkit.backends.services.ask import Ask, likely
from adaptkit.backends.services.batches import Batches, Limits, Outcome, batches_of, snapshot
from adaptkit.backends.services.vendors import split_model
from adaptkit.batch_cost import BatchCost
from adaptkit.data import ChatRecord, Dataset
from adaptkit.errors import DataError, UnsupportedError
from adaptkit.http import key_from
from adaptkit.prices import Prices
from adaptkit.types import Event, Snapshot, Status, Usage

__all__ = ["BatchAdapter", "BatchConfig"]

#: Problems that a message names.
_SHOWN = 20
#: Before the tag, the id of a batch of which nothing was sent.
_ANSWERED = "answered-"


class BatchConfig(BackendConfig):
    """Which questions go to whom; made by `Model.batch`, never written by hand.

    Attributes:
        model: The adapted model's file.
        prompt: The target that asks it.
        asked: SHA-256 of what is asked, and the name of the ledger.
        answered: Whether everything was answered before, so that nothing is sent.
    """

    made_by: ClassVar[str | None] = "model.batch(questions)"

    backend: Literal["batch"] = "batch"
    model: str
    prompt: PromptConfig
    asked: str
    answered: bool = False


class _Length(NamedTuple):
    """How long a prompt is, and whether any of it is to be remembered."""

    tokens: int | None
    cached: bool

    def usage(self, answer: int, cache_from: int) -> Usage:
        """What is counted at most: all of it is written to the cache, which is dearest, and nothing read from it."""
        tokens = self.tokens or 0
        written = tokens if self.cached and tokens >= cache_from else 0
        return Usage(input_tokens=tokens, output_tokens=answer, cache_write_tokens=written)


class BatchAdapter(Adapter[BatchConfig]):
    """One batch at a vendor.

    Args:
        config: What it is.
        context: What the client lends.
        options: How to answer; ``None`` where the batch was sent by another process, and is only followed here.
        asks: Who lowers the questions and has the connections, if there is one already.
        numbers: The number of each question.
    """

    backend: ClassVar[str] = "batch"
    config_type = BatchConfig
    #: At Anthropic `find` sees a batch only once it has ended, so a lost answer may stay uncertain for a day.
    guarantee: ClassVar[Guarantee] = "reconcilable"
    settle_seconds: ClassVar[float] = 10.0

    def __init__(
        self,
        config: BatchConfig,
        context: Context,
        options: ChatOptions | None = None,
        asks: PromptAdapter | None = None,
        numbers: Sequence[int] = (),
    ) -> None:
        super().__init__(config, context)
        self._prompt = PromptAdapter(config.prompt, context) if asks is None else asks
        self._options, self._numbers = options, numbers
        self._opened: Batches | None = None

    @property
    def account(self) -> str:
        """The address, and a fingerprint of the key."""
        assert self.config.prompt.address is not None and self.config.prompt.key_env is not None  # noqa: S101, PT018
        key = key_from(self.config.prompt.key_env, "a batch")
        return account_of(self.config.prompt.address, key)

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where the model answers."""
        return self._prompt.destinations

    def ledger(self) -> str:
        """The ledger's name."""
        return self.config.asked

    # -- what is sent ---------------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> Plan[BatchConfig]:
        """Lower every question once, to learn what cannot be asked and how large it all is.

        What was answered meanwhile changes what is sent, and not which batch this is: that says `BatchConfig.asked`.
        """
        if self.config.answered:
            return Plan(self.config, (), {"questions": 0}, (), self.config.asked, cost=BatchCost())
        self.context.egress.require(self.destinations, self.backend)
        problems: list[str] = []
        size, digest = 0, sha256()
        asks: list[_Length] = []
        for ask, line in self._lines(data, problems):
            asks.append(_Length(likely(ask), ask.cache is not None))
            size += len(line)
            digest.update(line)
        count = len(asks)
        self._refuse(problems, count, size)
        file = DataFile("questions", data, "batch", digest.hexdigest(), size, count)
        return Plan(
            config=self.config,
            files=(file,),
            request={"model": self._model_name, "questions": count, "bytes": size},
            destinations=self.destinations,
            fingerprint=self.config.asked,
            contents={file.purpose: self.config.asked},
            cost=self._cost(asks),
        )

    def upload(self, file: DataFile) -> str:
        """Write the requests, which lie nowhere, to a file that nobody else sees, and bring it to the vendor."""
        with tempfile.TemporaryFile() as lines:
            for _, line in self._lines(file.data):
                lines.write(line)
            lines.seek(0)
            return self._batches.upload(f"ak-{file.sha256[:32]}", cast("IO[bytes]", lines))

    def has_upload(self, file_id: str) -> bool:
        """Whether the vendor still has the file."""
        return self._batches.has(file_id)

    def delete_data(self, file_id: str) -> None:
        """Delete the file of questions."""
        self._batches.delete(file_id)

    def submit(self, plan: Plan[BatchConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Create the batch."""
        if self.config.answered:
            return self._finished(tag)
        (file,) = plan.files
        lines = (msgspec.json.decode(line) for _, line in self._lines(file.data))
        return self._batches.create(self._model_name, uploads[file.purpose], lines, tag)

    def _cost(self, asks: Sequence[_Length]) -> BatchCost:
        """What answers cost at most, if none is longer than was asked for."""
        assert self._options is not None  # noqa: S101 - what was lowered had options
        vendor, model, longest = self._vendor_name, self._model_name, self._options.max_tokens
        prices, known = Prices(self.context.prices), [ask.tokens for ask in asks if ask.tokens is not None]
        card, rate = prices.chat(vendor, model), prices.batch_rate(vendor)
        usd: float | None = None
        if card is None or rate is None:
            basis = f"the table of prices does not have batches of {vendor}:{model}"
        elif len(known) < len(asks):
            basis = "questions hold images, whose tokens only the vendor knows"
        elif longest is None:
            basis = "nothing says how long answers are: set max_tokens"
        else:
            usages = (ask.usage(longest, card.cache_from or 0) for ask in asks)
            usd = sum(prices.batched(vendor, model, usage) or 0.0 for usage in usages)
            basis = f"{rate.factor:g} of the price of calls by {card.source}, {card.date}"
        return BatchCost(
            questions=len(asks),
            input_tokens=sum(known),
            output_tokens=None if longest is None else longest * len(asks),
            usd=usd,
            basis=basis,
        )

    def _lines(self, data: Dataset, problems: list[str] | None = None) -> Iterator[tuple[Ask, bytes]]:
        """Every question and its request; what cannot be asked is added to ``problems``, or raised."""
        if self._options is None:
            raise UnsupportedError("a batch is sent by model.batch(questions), which knows how to answer")
        for number, record in zip(self._numbers, data, strict=True):
            assert isinstance(record, ChatRecord)  # noqa: S101 - made by `adaptkit.batches`
            try:
                _, ask = self._prompt.asked(self.config.model, record.messages, self._options)
                request = cast("Any", self._service).request(ask)
            except (DataError, UnsupportedError) as error:
                if problems is None:
                    raise
                problems.append(f"question {number}: {error}")
                continue
            yield ask, msgspec.json.encode(self._batches.line(number, request)) + b"\n"

    def _refuse(self, problems: list[str], count: int, size: int) -> None:
        limits: Limits = self._batches.limits
        if problems:
            shown = "\n".join(problems[:_SHOWN])
            more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise UnsupportedError(f"{len(problems)} questions cannot be asked; nothing was sent\n{shown}{more}")
        if limits.requests is not None and count > limits.requests:
            problems.append(f"{count:,} different questions, and one batch takes {limits.requests:,}")
        if size > limits.bytes:
            problems.append(f"{size:,} bytes, and one batch takes {limits.bytes:,}")
        if problems:
            raise UnsupportedError(
                f"too much for one batch of {self._vendor_name}: {'; '.join(problems)}. Nothing was sent: ask in parts"
            )

    # -- and back -------------------------------------------------------------------------------------------------

    def poll(self, job_id: str) -> Snapshot:
        """How the batch stands."""
        if self.config.answered:
            return self._finished(job_id.removeprefix(_ANSWERED))
        return self._batches.poll(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask the vendor to stop; what is answered by then is billed and stays."""
        self._batches.cancel(job_id)

    def find(self, tag: str) -> Sequence[Snapshot]:
        """Batches that carry the tag."""
        if self.config.answered:
            return [self._finished(tag)]
        return list(self._batches.find(tag))

    def events(self, job_id: str, after: str | None) -> Sequence[Event]:
        """How many questions are done, where that has changed."""
        heard = self.poll(job_id)
        counts = heard.raw.get("counts", {})
        total = counts.get("total", 0)
        done = sum(n for name, n in counts.items() if name != "total")
        event = Event(
            id=f"{done:010d}-{heard.raw_status}",
            at=time.time(),
            kind="metrics",
            message=f"{done} of {total} questions done",
            data={"step": done, "total_steps": total, "failed": done - counts.get("succeeded", 0)},
        )
        return [] if after == event.id else [event]

    def answers(self, job_id: str) -> Iterator[tuple[int, Outcome]]:
        """What became of each question."""
        return iter(()) if self.config.answered else self._batches.results(job_id)

    def usd(self, usage: Usage) -> float | None:
        """What an answer has cost, at the price of batches."""
        return Prices(self.context.prices).batched(self._vendor_name, self._model_name, usage)

    def figures(self, job_id: str) -> Sequence[Mapping[str, float]]:
        """What the answers that were fetched have cost together: one row."""
        with closing(Answers(self.context.home / "answers.db")) as kept:
            spent = kept.spent(job_id)
        if spent is None:
            return []
        tokens = {name: float(n) for name, n in msgspec.structs.asdict(spent.usage).items()}
        row = {"step": float(spent.answers), **tokens}
        return [row if spent.usd is None else {**row, "usd": spent.usd}]

    def retrieve(self, job_id: str) -> str:
        """A batch makes no model."""
        raise UnsupportedError(f"batch {job_id} makes no model: job.answers() gives its answers")

    def close(self) -> None:
        """Let go of connections."""
        self._prompt.close()

    def _finished(self, tag: str) -> Snapshot:
        return snapshot(f"{_ANSWERED}{tag}", "answered before", Status.SUCCEEDED, {"total": 0}, tag=tag)

    @property
    def _vendor_name(self) -> str:
        return self.config.prompt.model.partition(":")[0]

    @property
    def _model_name(self) -> str:
        return split_model(self.config.prompt.model)[1]

    @property
    def _service(self) -> object:
        self._batches  # noqa: B018 - opens both
        return self._served

    @property
    def _batches(self) -> Batches:
        if self._opened is None:
            self._served = self._prompt.vendor_service()
            self._opened = batches_of(self._vendor_name, self._served)
        return self._opened
