"""Which word follows which: a backend small enough to read in one go, and real enough to answer."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from adaptkit.adapter import Adapter, BackendConfig, ChatOptions, DataFile, Guarantee, LocalPath, Plan
from adaptkit.data import DataRules, Dataset
from adaptkit.errors import NotFoundError
from adaptkit.types import Message, Reply, Snapshot, Status, Usage

__all__ = ["NgramAdapter", "NgramConfig"]

END = "\n"


class NgramConfig(BackendConfig):
    """What can be set.

    Attributes:
        order: Words that the next one depends on.
        validation: File of held-out examples; only checked.
    """

    backend: Literal["ngram"] = "ngram"
    order: int = Field(2, ge=1, le=5)
    validation: LocalPath | None = None


class NgramAdapter(Adapter[NgramConfig]):
    """Jobs are born finished: counting words takes no time. The tag is the job's id, so sending again is safe."""

    backend: ClassVar[str] = "ngram"
    config_type = NgramConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"

    @classmethod
    def data_rules(cls, config: NgramConfig | None = None) -> DataRules:
        """Conversations, and nothing else."""
        return DataRules(kinds=frozenset({"chat"}))

    @property
    def destinations(self) -> tuple[str, ...]:
        """Nothing leaves the machine."""
        return ()

    @property
    def _home(self) -> Path:
        return self.context.home / "ngram"

    def _model(self, job_id: str) -> Path:
        return self._home / f"{job_id}.json"

    def upload(self, file: DataFile) -> str:
        """Keep a copy that only the user can read."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._home / f"{file.sha256}.jsonl"
        file.data.write(path, file.format)
        return str(path)

    def submit(self, plan: Plan[NgramConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Count, and write the counts; the file appears whole or not at all."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for record in Dataset.open(uploads["train"]):
            for message in record.messages:
                if message.role == "assistant":
                    words = [*message.text.split(), END]
                    for at, word in enumerate(words):
                        counts[" ".join(words[max(0, at - plan.config.order) : at])][word] += 1
        best = {context: max(sorted(words), key=words.__getitem__) for context, words in counts.items()}
        unfinished = self._model(tag).with_suffix(".part")
        unfinished.write_text(json.dumps({"order": plan.config.order, "next": best}), encoding="utf-8")
        unfinished.replace(self._model(tag))
        return self.poll(tag)

    def poll(self, job_id: str) -> Snapshot:
        """A job is its file."""
        if not self._model(job_id).is_file():
            raise NotFoundError(f"there is no job {job_id} in {self._home}", backend=self.backend)
        return Snapshot(job_id=job_id, status=Status.SUCCEEDED, raw_status="counted", tag=job_id)

    def cancel(self, job_id: str) -> None:
        """It has ended already, which is no error."""
        self.poll(job_id)

    def retrieve(self, job_id: str) -> str:
        """The file's path, so that a copied file answers from elsewhere."""
        self.poll(job_id)
        return str(self._model(job_id))

    # powers -----------------------------------------------------------------------------------------------------------

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of that tag, which is its id."""
        return [self.poll(tag)] if self._model(tag).is_file() else []

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """The likeliest chain of words."""
        text = "".join(self.stream(model_id, messages, options))
        asked = sum(len(message.text.split()) for message in messages)
        return Reply(text=text, usage=Usage(input_tokens=asked, output_tokens=len(text.split())))

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """Word by word."""
        try:
            model: dict[str, Any] = json.loads(Path(model_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFoundError(f"there is no model {model_id}", backend=self.backend) from None
        said: list[str] = []
        while len(said) < (options.max_tokens or 100):
            word = model["next"].get(" ".join(said[-model["order"] :]), END)
            if word == END:
                return
            yield word if not said else f" {word}"
            said.append(word)
