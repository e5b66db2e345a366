"""What can be set for training Mistral's models, by where it is done."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from adaptkit.adapter import BackendConfig, LocalPath, ModelName
from adaptkit.backends.engines import RunConfig
from adaptkit.http import checked_url

__all__ = ["AdaptConfig", "MistralConfig", "Replay", "Stage", "Vocabulary"]

_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Replay(BaseModel):
    """General text that is learned again beside the new, against forgetting.

    Attributes:
        data: File of text.
        share: Of all that is learned, between 0 and 1.
    """

    model_config = _FROZEN

    data: LocalPath
    share: float = Field(0.1, gt=0, lt=1)


class Stage(BaseModel):
    """One part of a training, which begins with what the one before it made.

    What is ``None`` is taken from the target, and where that says nothing either, from the model's size.

    Attributes:
        method: ``cpt`` learns raw text, ``sft`` what the assistant says, ``dpo`` prefers one answer over another.
        data: File of its examples; ``None`` for the data that is submitted, which exactly one stage takes.
        replay: General text beside it, in ``cpt``.
        validation: File of held-out examples, scored before the stage and after each epoch.
    """

    model_config = _FROZEN

    method: Literal["cpt", "sft", "dpo"]
    data: LocalPath | None = None
    replay: Replay | None = None
    validation: LocalPath | None = None
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    max_length: int | None = Field(None, ge=8)
    beta: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _replays(self) -> Stage:
        if self.replay is not None and self.method != "cpt":
            raise ValueError('replay is for method = "cpt"')
        return self


class Vocabulary(BaseModel):
    """New tokens for a language or a field that the base spells in many pieces.

    Attributes:
        add: How many, learned from the text of the first stage.
        source: File with one token a line, instead; ``from`` in a configuration file.
    """

    model_config = ConfigDict(**_FROZEN, populate_by_name=True)

    add: int | None = Field(None, ge=1)
    source: LocalPath | None = Field(None, alias="from")

    @model_validator(mode="after")
    def _one(self) -> Vocabulary:
        if (self.add is None) == (self.source is None):
            raise ValueError('vocabulary is {add = NUMBER} or {from = "FILE"}')
        return self


class AdaptConfig(BaseModel):
    """What of the model is changed beside its weights."""

    model_config = _FROZEN

    vocabulary: Vocabulary | None = None


#: Fields that only some places can express.
_OF_PLACE = {
    "cluster": frozenset(
        {
            "weights", "rank", "alpha", "dropout", "batch_size", "micro_batch_size", "learning_rate", "schedule",
            "warmup", "max_length", "precision", "device", "activation_checkpointing", "checkpoint_every", "beta",
            "stages", "adapt", "run", "method", "seed", "epochs",
        }
    ),
    "forge": frozenset(
        {"stages", "method", "adapt", "bundle", "evaluation", "license", "provenance", "api_key_env"}
    ),
    "hosted": frozenset(
        {
            "base_url", "api_key_env", "epochs", "training_steps", "learning_rate", "weight_decay", "warmup_fraction",
            "sequence_length", "fim_ratio",
        }
    ),
}  # fmt: skip
_COMMON = frozenset({"backend", "where", "model", "name", "validation"})


class MistralConfig(BackendConfig):
    """Training of Mistral's models from weights that you hold.

    Attributes:
        where: ``cluster`` is your own machines, through ``run``; ``hosted`` a private deployment that offers Mistral's
            former jobs API, and ``ft:`` models that you still own at Mistral; ``forge`` a bundle for a Forge
            engagement.
        model: A folder, a hub id (``mistralai/Ministral-3-8B-Base-2512``) or ``builtin:tiny``; for ``hosted`` the name
            there.
        method: Short for a single stage.
        stages: What is learned, one after another.
        weights: ``full`` or ``lora``.
        rank: Of LoRA; ``alpha`` its scale, ``dropout`` on its input.
        epochs: Passes over each stage's data.
        batch_size: Examples (in ``cpt`` rows of ``max_length`` tokens) of one step of the optimiser, of all processes
            together.
        micro_batch_size: Those that go through a process's model at once.
        learning_rate: The highest, after warm-up; it then falls along ``schedule``.
        warmup: Share of the steps.
        max_length: Tokens of a row.
        precision: ``bf16`` trains in mixed precision, ``auto`` where the hardware gains by it.
        device: ``auto``, ``cpu`` or ``cuda``.
        activation_checkpointing: Compute activations again instead of keeping them: slower, in less memory.
        checkpoint_every: Steps; ``None`` is once a minute, or less often where writing takes long.
        validation: Short for that of the last stage.
        beta: Of DPO.
        adapt: What else is changed: ``vocabulary``.
        run: Engine, machines and processes.
        seed: Of everything random.
        name: For people; of ``hosted`` the start of the suffix, 7 characters at most.
        base_url: Of ``hosted``: your deployment, without ``/v1``. Mistral's own API answers 410 Gone.
        api_key_env: Environment variable with the key: of ``hosted``, ``MISTRAL_API_KEY`` where none is named; of
            ``forge``, for a registered deployment, which gets no key unless one is named.
        training_steps: Of ``hosted``, instead of ``epochs``.
        weight_decay: Of ``hosted``; the protocol's 0.1.
        warmup_fraction: Of ``hosted``: share of the steps; the protocol's 0.05.
        sequence_length: Of ``hosted``: tokens of an example; the deployment chooses.
        fim_ratio: Of ``hosted``: share of examples learned with a hole in the middle, for models that write code.
        bundle: Of ``forge``: folder that the bundle is written to; the home folder otherwise.
        evaluation: Of ``forge``: file of the held-out set that goes with it.
        license: Of ``forge``: under what the data may be used, for the manifest.
        provenance: Of ``forge``: where the data is from, for the manifest.
    """

    instead: ClassVar[dict[str, str]] = {
        "learning_rate_multiplier": "Use learning_rate, which is absolute.",
        "gradient_accumulation": "batch_size counts all processes; micro_batch_size is what goes through at once.",
    }

    backend: Literal["mistral"] = "mistral"
    where: Literal["cluster", "hosted", "forge"] = "cluster"
    model: ModelName = Field("mistralai/Ministral-3-3B-Base-2512", min_length=1)
    method: Literal["cpt", "sft", "dpo"] | None = None
    stages: tuple[Stage, ...] = ()
    weights: Literal["full", "lora"] = "full"
    rank: int | None = Field(None, ge=1, le=4096)
    alpha: float | None = Field(None, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    max_length: int | None = Field(None, ge=8)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    activation_checkpointing: bool | None = None
    checkpoint_every: int | None = Field(None, ge=1)
    validation: LocalPath | None = None
    beta: float = Field(0.1, gt=0)
    adapt: AdaptConfig = AdaptConfig()
    run: RunConfig = RunConfig()
    seed: int = Field(0, ge=0, lt=2**32)
    name: str | None = None
    base_url: Annotated[str, AfterValidator(checked_url)] | None = None
    api_key_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    training_steps: int | None = Field(None, ge=1)
    weight_decay: float | None = Field(None, ge=0, le=1)
    warmup_fraction: float | None = Field(None, ge=0, le=1)
    sequence_length: int | None = Field(None, ge=100)
    fim_ratio: float | None = Field(None, ge=0, le=1)
    bundle: LocalPath | None = None
    evaluation: LocalPath | None = None
    license: str | None = None
    provenance: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> MistralConfig:
        known = _OF_PLACE[self.where] | _COMMON
        fields = type(self).model_fields
        # a default that is spelled out, as in what the journal keeps, asks for nothing
        given = {name for name in self.model_fields_set if getattr(self, name) != fields[name].default}
        strange = sorted(given - known)
        if strange:
            raise ValueError(f'where = "{self.where}" has no {", ".join(strange)}; it takes {", ".join(sorted(known))}')
        if self.method is not None and self.stages:
            raise ValueError("method is short for a single stage; give it or stages")
        open_stages = [stage for stage in self.resolved_stages if stage.data is None]
        if len(open_stages) != 1:
            raise ValueError("exactly one stage has no data of its own: it takes the data that is submitted")
        return self

    @property
    def key_env(self) -> str:
        """Where Mistral's own key is, unless the configuration names another."""
        return self.api_key_env or "MISTRAL_API_KEY"

    @property
    def resolved_stages(self) -> tuple[Stage, ...]:
        """The stages, one where none is named: ``sft``; the last with the target's ``validation``."""
        *before, last = self.stages or (Stage(method=self.method or "sft"),)
        if self.validation is not None:
            last = last.model_copy(update={"validation": self.validation})
        return (*before, last)

    @property
    def profile(self) -> str | None:
        """Name under which the table of prices has it."""
        return self.run.profile if self.where == "cluster" else None
