"""What can be set for prompting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import httpx2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from adaptkit.adapter import BackendConfig, LocalPath, ModelName
from adaptkit.backends.services.vendors import VENDORS, Vendor, split_model
from adaptkit.http import checked_url, loopback
from adaptkit.metrics import MetricName

__all__ = ["Budget", "MeasuredExamples", "Optimize", "PromptConfig", "Way"]

#: ``anthropic:…``, but not ``C:\…``.
_SERVICE = re.compile(r"[a-z][a-z0-9_-]+:", re.IGNORECASE)


class Budget(BaseModel):
    """What a search may use at most.

    Attributes:
        calls: Requests to models, reflection and the final report among them.
        usd: US dollars, by the table of prices; only where the prices of the models are known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = Field(300, ge=1)
    usd: float | None = Field(None, gt=0, allow_inf_nan=False)


class Optimize(BaseModel):
    """Search for better instructions (GEPA; the extra ``optimize``), as a job in a process of its own.

    The data falls into three parts: half of it is reflected on and examples are chosen from it, candidates are chosen
    by a part that they never saw, and the winner is reported on a third that nobody looked at: the ``validation``
    file, else a quarter of the data.

    Attributes:
        metric: What is to be better.
        budget: Where the search stops.
        reflection: Model that reads what went wrong and writes new instructions; ``None`` for ``model``.
        minibatch: Rows that are reflected on at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: MetricName = "exact_match"
    budget: Budget = Budget()
    reflection: str | None = Field(None, min_length=1)
    minibatch: int = Field(3, ge=1, le=100)


#: How examples are chosen.
Way = Literal["fixed", "similarity"]
_Count = Annotated[int, Field(ge=0, le=10_000)]


class MeasuredExamples(BaseModel):
    """How many examples, and how chosen, found out by asking, as a job in a process of its own.

    Every number is tried in every way on the same rows, with the data in the same three parts as for `Optimize`:
    examples come from the first, the second is what is measured on, and the winner is reported on the third.

    Attributes:
        counts: Numbers of examples to try.
        ways: Ways of choosing to try; see `PromptConfig.examples_by`.
        metric: What is to be better; with ``optimize`` its metric holds.
        budget: What it may use at most; with ``optimize`` its budget holds for both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: tuple[_Count, ...] = Field((0, 4, 16), min_length=1, max_length=20)
    ways: tuple[Way, ...] = Field(("fixed", "similarity"), min_length=1)
    metric: MetricName | None = None
    budget: Budget | None = None

    @property
    def settings(self) -> tuple[tuple[int, Way], ...]:
        """What is tried: the fewest examples first, each number in every way, none at all once."""
        ways = tuple(dict.fromkeys(self.ways))
        return tuple((count, way) for count in sorted(set(self.counts)) for way in (ways if count else ways[:1]))


class PromptConfig(BackendConfig):
    """Instructions, examples and documents in front of the question.

    Attributes:
        model: ``anthropic:…``, ``openai:…`` or ``mistral:…`` and the vendor's name of the model; ``builtin:tiny``, a
            folder, or a hub id; with ``base_url``, the name that the service knows.
        base_url: Where a service speaks OpenAI's chat wire, such as ``http://localhost:11434/v1``; with a vendor's
            model, another address of the vendor's own wire, such as a gateway's; ``None`` for the vendor's address, or
            a model on this machine. ``https`` unless the service runs here.
        wire: ``chat`` where ``base_url`` speaks OpenAI's chat wire although the model's name begins like a vendor's,
            as ``mistral:7b`` does in Ollama.
        api_key_env: Name of the environment variable that holds the service's key; a vendor's usual one if left out;
            may be left out for a service on this machine.
        instructions: The system message; ``None`` for the one that the training rows share.
        answers: File with a JSON Schema that every answer keeps, unless a call asks for another.
        constrain: Whether the service at ``base_url`` can hold an answer to a schema while writing it
            (``response_format`` with ``json_schema``: vLLM, Ollama and llama.cpp's server can). Vendors do in any case.
        examples: How many training rows stand in front of the question; a table where that is to be measured.
        examples_by: ``fixed``: the same for every question, spread over the different answers, which services remember.
            ``similarity``: those that are most like the question, found by their words.
        corpus: Texts that stand in front of every question, whole: files (``.txt``, ``.md``, ``.jsonl`` of ``id``,
            ``title`` and ``text``), folders of them, globs.
        documents: Texts that are searched for each question, named as in `corpus`; better than it only where all of
            them would be too much to stand in the prompt, which a plan says.
        passages: How many passages of `documents` stand in front of a question.
        cache: How long a vendor is to remember what stands in front of the question, in the vendor's words; ``off``
            for not at all; ``None`` for the vendor's default.
        max_tokens: Most new tokens of an answer, unless a call says otherwise.
        temperature: 0 for the likeliest answer, unless a call says otherwise.
        timeout: Seconds without a sign of the service after which a request is given up.
        optimize: Search for better instructions; ``None`` takes them as they are, and the job is born finished.
        validation: File of held-out examples: none of its questions becomes an example.
        seed: Which rows are chosen.
        name: For people.
    """

    backend: Literal["prompt"] = "prompt"
    model: ModelName = Field("builtin:tiny", min_length=1)
    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    wire: Literal["chat"] | None = None
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$")
    instructions: str | None = Field(None, min_length=1)
    answers: LocalPath | None = None
    constrain: bool = False
    examples: _Count | MeasuredExamples = 4
    examples_by: Way = "fixed"
    corpus: tuple[LocalPath, ...] = ()
    documents: tuple[LocalPath, ...] = ()
    passages: int = Field(8, ge=1, le=100)
    cache: Literal["5m", "30m", "1h", "12h", "off"] | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    timeout: float = Field(600.0, gt=0, allow_inf_nan=False)
    optimize: Optimize | None = None
    validation: LocalPath | None = None
    seed: int = Field(0, ge=0, lt=2**32)
    name: str | None = None

    def anchored(self) -> PromptConfig:
        """The same with paths that hold from any folder."""
        here = {name: str(Path(path).absolute()) for name in ("answers", "validation") if (path := getattr(self, name))}
        many = {
            name: tuple(str(Path(path).absolute()) for path in getattr(self, name)) for name in ("corpus", "documents")
        }
        return self.model_copy(update=here | many)

    @property
    def measured(self) -> MeasuredExamples | None:
        """How the examples are measured; ``None`` where their number is given."""
        return self.examples if isinstance(self.examples, MeasuredExamples) else None

    @property
    def asks(self) -> bool:
        """Whether making the model asks one, which is a job."""
        return self.optimize is not None or self.measured is not None

    @property
    def metric(self) -> MetricName:
        """What such a job is to make better."""
        if self.optimize is not None:
            return self.optimize.metric
        return (self.measured and self.measured.metric) or "exact_match"

    @property
    def budget(self) -> Budget:
        """What such a job may use."""
        if self.optimize is not None:
            return self.optimize.budget
        return (self.measured and self.measured.budget) or Budget()

    def with_examples(self, count: int, way: Way) -> PromptConfig:
        """The same with so many examples chosen in that way, and nothing left to find out."""
        return self.model_copy(update={"examples": count, "examples_by": way, "optimize": None})

    @property
    def settled(self) -> PromptConfig:
        """The same where nothing is measured; else with the most examples that are tried."""
        return self if self.measured is None else self.with_examples(*self.measured.settings[-1])

    @property
    def vendor(self) -> Vendor | None:
        """Whose SDK answers, if any's."""
        return None if self.wire == "chat" else split_model(self.model)[0]

    @property
    def address(self) -> str | None:
        """Where the service is; ``None`` for a model on this machine."""
        return self.base_url or (self.vendor.base_url if self.vendor else None)

    @property
    def host(self) -> str | None:
        """Host of the service, as it is asked; ``None`` for a model on this machine."""
        return None if self.address is None else httpx2.URL(self.address).raw_host.decode("ascii")

    @property
    def key_env(self) -> str | None:
        """Name of the environment variable that holds the key, ``None`` where none is needed."""
        return self.api_key_env or (self.vendor.key_env if self.vendor else None)

    @property
    def reflecting(self) -> PromptConfig:
        """The model that reflects, with nothing in front of its question; asked where `model` is, if it can be."""
        model = (self.optimize and self.optimize.reflection) or self.model
        kept = ("api_key_env", "base_url", "wire") if split_model(model)[0] is self.vendor else ()
        same = {name: getattr(self, name) for name in kept if not model.startswith("builtin:")}
        return PromptConfig(model=model, examples=0, timeout=self.timeout, max_tokens=4096, **same)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.measured is not None and self.examples_by != "fixed":
            raise ValueError("examples_by: where examples are measured, the ways to try are examples.ways")
        if self.measured and self.optimize and (self.measured.metric or self.measured.budget):
            raise ValueError("examples: with optimize, its metric and budget hold for both: leave them out here")
        host, built_in = self.host, self.model.startswith("builtin:")
        if host is None and self.api_key_env is not None:
            raise ValueError("api_key_env is the key of a service: add its base_url, or leave it out")
        if host is None and self.wire is not None:
            raise ValueError('wire = "chat" is about a service: add its base_url, or leave it out')
        if self.constrain and (self.base_url is None or self.vendor is not None):
            raise ValueError("constrain is for a service at a base_url that speaks OpenAI's chat wire: leave it out")
        if host is None and not built_in and _SERVICE.match(self.model):
            raise ValueError(
                f"model names a service that is none of {', '.join(f'{name}:' for name in VENDORS)}: give its address "
                "on OpenAI's chat wire as base_url, and as model the name alone. Without base_url a model is "
                "builtin:tiny, a folder, or a hub id"
            )
        if host is not None and built_in:
            raise ValueError("a built-in model runs on this machine: leave out base_url")
        if host is not None and not loopback(host) and self.key_env is None:
            raise ValueError(f"{host} wants a key: set api_key_env to the name of the variable that holds it")
        return self
