"""Who takes part in a comparison: from names and references to models, and what is known of how each was made.

All but a few facts come from the journal and from files of this machine. What only the host can tell (when the model is
switched off, how its training went) is asked for once a model, and is left out where asking fails.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from adaptkit.adapter import Adapter
from adaptkit.answers import Answers
from adaptkit.backends.model_folder import MANIFEST
from adaptkit.cost import Cost
from adaptkit.data import Dataset
from adaptkit.errors import AdaptkitError, ConfigError, NotFoundError
from adaptkit.estimate import estimate
from adaptkit.evidence.results import Rung
from adaptkit.journal import Journal, Run, Stage
from adaptkit.model import Model
from adaptkit.prices import Prices, RateCard
from adaptkit.registry import nearest
from adaptkit.state import JobState
from adaptkit.steps import Clock
from adaptkit.types import JobRef, ModelRef, Status, Usage

__all__ = ["Bench", "Entrant", "Models", "entrants", "run_of"]

#: What can be compared: names of targets, references, models; a mapping gives them names of the caller's.
Models = Sequence[str | ModelRef | Model] | Mapping[str, str | ModelRef | Model]

#: Runs whose model is asked for, newest first, where the model's id does not say which made it.
_LOOKED_AT = 20


@dataclass(frozen=True)
class Bench:
    """What a client lends a comparison.

    Attributes:
        targets: Names of its targets.
        journal: Runs and their history.
        answers: Where answers are kept.
        clock: Time.
        prices: Path of the user's own prices, if any.
        model_of: Opens a model by its reference.
        state_of: Opens the job of an accepted run.
    """

    targets: Sequence[str]
    journal: Journal
    answers: Answers
    clock: Clock
    prices: Path | None
    model_of: Callable[[str | ModelRef], Model]
    state_of: Callable[[Run], JobState]


class _Told(msgspec.Struct, frozen=True):
    """Of the manifest of a model's folder, what says how it was made; empty where there is none."""

    base: Mapping[str, Any] = {}
    config: Mapping[str, Any] = {}
    data_fingerprint: str | None = None


@dataclass(frozen=True)
class Entrant:
    """One model that takes part.

    Attributes:
        name: Its name in the comparison.
        model: Its handle.
        run: The run that made it, ``None`` where the journal knows none.
        bench: Who knows more.
        note: What should be known of the choice.
    """

    name: str
    model: Model
    run: Run | None
    bench: Bench = field(repr=False)
    note: str | None = None

    @cached_property
    def adapter(self) -> Adapter[Any]:
        """Its backend, with the configuration that made it where that is known."""
        if self.run is not None:
            return self.bench.state_of(self.run).open_adapter()
        return self.model._adapter  # noqa: SLF001 - a handle tells users less than evidence needs

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return dict(self.adapter.config)

    @cached_property
    def _told(self) -> _Told:
        """What the folder of a model tells that another home made."""
        with suppress(OSError, ValueError, RecursionError):
            return msgspec.json.decode((Path(self.model.id) / MANIFEST).read_bytes(), type=_Told)
        return _Told()

    @property
    def fingerprint(self) -> str | None:
        """Of the data that it was trained on, where that is known."""
        return self._told.data_fingerprint if self.run is None else self.run.fingerprint

    @cached_property
    def prompt(self) -> Any:
        """What stands in front of each question, for a model of the prompt backend; else ``None``."""
        if self.model.ref.backend != "prompt":
            return None
        from adaptkit.backends.prompt.adapted import AdaptedModel  # noqa: PLC0415 - where there is one

        return AdaptedModel.load(Path(self.model.id))

    @property
    def rung(self) -> Rung:
        """How it was adapted."""
        if self.prompt is not None:
            return "prompt" if len(self.prompt.segments) > 1 else "none"
        made = self._told.config if self.run is None else self._settings
        if made.get("weights") == "full":
            return "train"
        if self.run is not None or (Path(self.model.id) / "adapter_config.json").is_file():
            return "fine-tune"
        is_base = self.model.id == self._settings.get("model") or self.model.ref.backend == "lora"
        return "none" if is_base else "fine-tune"

    @property
    def base(self) -> str | None:
        """Id of the model that it was made from."""
        if self.prompt is not None:
            return str(self.prompt.model)
        if self.run is None:
            return self.model.id if self.rung == "none" else self._told.base.get("model")
        named = self._settings.get("model")
        return None if named in (None, "unknown") else str(named)

    def card(self, usage: Usage) -> RateCard | None:
        """The prices that hold for an answer, where they are known."""
        return self._prices.chat(*self._service, usage.input_tokens) if self._is_priced else None

    def usd(self, usage: Usage) -> float | None:
        """What an answer cost: by the table of prices, else nothing on this machine, else nobody knows."""
        card = self.card(usage)
        if card is not None:
            return card.usd(usage)
        elsewhere = self.adapter.destinations or "://" in self.model.id  # an address that was registered
        return None if elsewhere else 0.0

    @cached_property
    def _is_priced(self) -> bool:
        return self._prices.chat(*self._service, sys.maxsize) is not None

    @cached_property
    def _service(self) -> tuple[str, str]:
        """Whose model answers, and its name there, as the table of prices has them."""
        from adaptkit.backends.services.vendors import split_model  # noqa: PLC0415 - names of services only

        vendor, name = split_model(self.prompt.model) if self.prompt is not None else (None, self.model.id)
        return (self.model.ref.backend, self.model.id) if vendor is None else (vendor.name, name)

    def spent(self, learned: Sequence[Dataset]) -> Cost:
        """What making it took; money is estimated from its data where that is given and the host does not tell."""
        if self.run is None:
            return Cost(usd=0.0 if self.rung == "none" else None)
        found = Cost()
        with suppress(AdaptkitError):
            found = self.bench.state_of(self.run).cost()
        training = next((data for data in learned if data.fingerprint == self.run.fingerprint), None)
        if found.usd is None and found.price is not None and training is not None:
            with suppress(AdaptkitError):
                usd = estimate(self.adapter.prepare(training), training, self._prices).usd
                found = msgspec.structs.replace(found, usd=usd)
        return found

    @property
    def losses(self) -> tuple[tuple[int, float], ...]:
        """Step and loss, as far as its job told."""
        return tuple((int(row["step"]), float(row["loss"])) for row in self._figures if {"step", "loss"} <= row.keys())

    @property
    def shutdown(self) -> str | None:
        """The day from which it no longer answers."""
        with suppress(AdaptkitError):
            day = self.model.shutdown_date()
            return None if day is None else day.isoformat()
        return None

    @cached_property
    def _figures(self) -> list[Mapping[str, float]]:
        if self.run is not None:
            with suppress(AdaptkitError):
                return self.bench.state_of(self.run).figures()
        return []

    @cached_property
    def _prices(self) -> Prices:
        return Prices(self.bench.prices)


def entrants(bench: Bench, models: Models) -> list[Entrant]:
    """Find out who takes part; asks nobody but the hosts of jobs that had not ended when last heard of.

    Args:
        bench: What the client lends.
        models: Names of targets (each stands for the model of its latest job that succeeded), references of models
            or jobs, models, or open models as they are (``builtin:tiny``, a folder); by name where the caller gives
            names.

    Raises:
        ConfigError: one names nothing, a target has no model yet, or two have the same name; says what to do.
    """
    if isinstance(models, str | ModelRef | Model):
        raise ConfigError("compare takes a list of models, or a mapping of names to models; for one, a list of one")
    named = isinstance(models, Mapping)
    pairs: Iterable[tuple[str | None, str | ModelRef | Model]] = (
        models.items() if isinstance(models, Mapping) else ((None, each) for each in models)
    )
    found = [_entrant(bench, name, what) for name, what in pairs]
    if not found:
        raise ConfigError("there is no model to compare")
    names = [each.name for each in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and not named:
        raise ConfigError(
            f"{len(names)} models, and several are called {', '.join(twice)}: leave out what is named twice, or give "
            "a mapping of names to models"
        )
    return found


def run_of(ref: ModelRef, journal: Journal, retrieve: Callable[[Run], str]) -> Run | None:
    """The run that made a model, if the journal knows it.

    Args:
        ref: The model.
        journal: Where to look.
        retrieve: Asks for the model of a run, where the id of the model does not say which made it.
    """
    runs = [run for run in journal.runs() if _made_one(run) and run.backend == ref.backend]
    for run in runs:
        if run.job_id is not None and re.search(rf"(?<!\w){re.escape(run.job_id)}(?!\w)", ref.id):
            return run
    for run in [run for run in runs if ref.target in (None, run.target)][:_LOOKED_AT]:
        with suppress(AdaptkitError):
            if retrieve(run) == ref.id:
                return run
    return None


def _entrant(bench: Bench, name: str | None, what: str | ModelRef | Model) -> Entrant:
    if isinstance(what, str) and what in bench.targets:
        run, ref, note = _latest(bench, what)
        return Entrant(name or what, bench.model_of(ref), run, bench, note)
    model = what if isinstance(what, Model) else bench.model_of(_reference(bench, what))
    ref = model.ref
    return Entrant(name or _short(ref), model, _any_run(bench, ref), bench)


def _any_run(bench: Bench, ref: ModelRef) -> Run | None:
    """Open models as they are were made by no run, so none is looked for."""
    if ref.id.startswith("builtin:"):
        return None
    return run_of(ref, bench.journal, lambda run: bench.state_of(run).retrieve())


def _reference(bench: Bench, what: str | ModelRef) -> ModelRef:
    if isinstance(what, ModelRef):
        return what
    text = what.strip()
    if text.startswith("{"):
        try:
            ref = msgspec.json.decode(text, type=JobRef | ModelRef)
        except msgspec.MsgspecError:
            return ModelRef.parse(text)  # says what is wrong with it
        return ref if isinstance(ref, ModelRef) else _model_of_job(bench, ref)
    if text.startswith("builtin:") or Path(text).expanduser().is_dir():
        return ModelRef(backend="lora", id=text)
    known = ", ".join(bench.targets) or "none"
    raise ConfigError(
        f"{what!r} is no target, no reference and no model on this machine.{nearest(text, bench.targets)} Targets: "
        f"{known}"
    )


def _model_of_job(bench: Bench, ref: JobRef) -> ModelRef:
    run = bench.journal.by_job(ref.backend, ref.id)
    if run is None:
        raise ConfigError(f"the journal does not know job {ref}: client.attach(…).result() gives its model")
    state = bench.state_of(run)
    state.refresh()
    if state.snapshot.status is not Status.SUCCEEDED:
        raise ConfigError(f"job {ref.id} has no model to compare: it is {state.snapshot.status}")
    return ModelRef(backend=ref.backend, id=state.retrieve(), target=run.target)


def _latest(bench: Bench, target: str) -> tuple[Run, ModelRef, str | None]:
    """The model of the latest job of a target that succeeded; those under way are asked how they stand."""
    runs = [run for run in bench.journal.runs() if run.target == target]
    note = None
    for run in runs:
        if run.stage is not Stage.ACCEPTED:
            continue
        state = bench.state_of(run)
        with suppress(NotFoundError):  # a job that is gone has no model
            state.refresh()
        if state.snapshot.status is Status.SUCCEEDED:
            ref = ModelRef(backend=run.backend, id=state.retrieve(), target=target)
            return run, ref, note
        if not state.snapshot.status.is_terminal:
            note = f"{target}: a newer job, {run.job_id}, is {state.snapshot.status}; an older one's model was compared"
    if not runs:
        raise ConfigError(
            f"target {target!r} has no model to compare: nothing was submitted yet. client.submit({target!r}, data), "
            f"or adaptkit submit {target} DATA, makes one"
        )
    heard = bench.state_of(runs[0]).snapshot.status if runs[0].stage is Stage.ACCEPTED else runs[0].stage
    raise ConfigError(
        f"target {target!r} has no model to compare: none of its jobs has succeeded, and the latest is {heard}. Wait "
        f"for it, or submit again"
    )


def _made_one(run: Run) -> bool:
    return run.stage is Stage.ACCEPTED and run.status is Status.SUCCEEDED


def _short(ref: ModelRef) -> str:
    """What people call it: its target, else the end of its id."""
    return ref.target or (ref.id if ref.id.startswith("builtin:") else Path(ref.id).stem or ref.id)
