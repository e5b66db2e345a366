"""A backend that learns which word follows which: training is counting, and a model is a file of counts."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from adaptkit import ChatOptions, Message, NotFoundError, Reply, Snapshot, Status, Usage
from adaptkit.adapter import Adapter, BackendConfig, DataFile, Guarantee, Plan

__all__ = ["EchoAdapter", "EchoConfig"]

END = "\n"


class EchoConfig(BackendConfig):
    """How many words the next one depends on."""

    backend: Literal["echo"] = "echo"
    order: int = Field(2, ge=1, le=5)


class EchoAdapter(Adapter[EchoConfig]):
    """Jobs are born finished, and the tag is the job's id: sending one again writes the same file again."""

    backend: ClassVar[str] = "echo"
    config_type: ClassVar[type[BackendConfig]] = EchoConfig
    guarantee: ClassVar[Guarantee] = "exactly_once"
    destinations = ()

    @property
    def _folder(self) -> Path:
        return self.context.home / "echo"

    def upload(self, file: DataFile) -> str:
        """Keep the data under the hash of its bytes."""
        path = self._folder / "files" / f"{file.sha256}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with _whole(path) as draft, draft.open("wb") as opened:
            file.data.write(opened, file.format)
        return path.name

    def has_upload(self, file_id: str) -> bool:
        """Whether the file is there."""
        return (self._folder / "files" / file_id).exists()

    def submit(self, plan: Plan[EchoConfig], uploads: Mapping[str, str], tag: str) -> Snapshot:
        """Count, and write the counts: all of the training."""
        path = self._folder / "models" / f"{tag}.json"
        if not path.exists():
            with (self._folder / "files" / uploads["train"]).open(encoding="utf-8") as rows:
                model = _learn(map(json.loads, rows), plan.config.order)
            path.parent.mkdir(parents=True, exist_ok=True)
            with _whole(path) as draft:
                draft.write_text(json.dumps(model), encoding="utf-8")
        return self.poll(tag)

    def poll(self, job_id: str) -> Snapshot:
        """A job is its model's file."""
        self._model(job_id)
        return Snapshot(job_id=job_id, status=Status.SUCCEEDED, raw_status="counted", tag=job_id)

    def cancel(self, job_id: str) -> None:
        """Every job has ended before anybody could cancel it."""
        self._model(job_id)

    def retrieve(self, job_id: str) -> str:
        """A model has the id of its job."""
        self._model(job_id)
        return job_id

    def find(self, tag: str) -> Sequence[Snapshot]:
        """The job of a tag."""
        try:
            return [self.poll(tag)]
        except NotFoundError:
            return []

    def chat(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Go on from the question, a word at a time."""
        words, ended = [], False
        limit = 50 if options.max_tokens is None else options.max_tokens
        for word in self._words(model_id, messages):
            if len(words) == limit:
                break
            words.append(word)
        else:
            ended = True
        asked = sum(len(message.text.split()) for message in messages)
        usage = Usage(input_tokens=asked, output_tokens=len(words))
        return Reply(text=" ".join(words), usage=usage, finish_reason="stop" if ended else "length")

    def stream(self, model_id: str, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """The same answer, a word at a time."""
        for number, word in enumerate(self.chat(model_id, messages, options).text.split()):
            yield f" {word}" if number else word

    def _words(self, model_id: str, messages: Sequence[Message]) -> Iterator[str]:
        model = self._model(model_id)
        past = messages[-1].text.split() if messages else []
        while True:
            past = past[-model["order"] :]
            # the longest past that was ever seen decides; a past that never was leaves the most usual first word
            known = (model["next"].get(" ".join(past[start:])) for start in range(len(past) + 1))
            word = next(found for found in known if found)
            if word == END:
                return
            yield word
            past.append(word)

    def _model(self, model_id: str) -> dict:
        path = self._folder / "models" / f"{model_id}.json"
        if not model_id.isalnum() or not path.exists():  # an id comes from outside and becomes a path
            raise NotFoundError(f"there is no job or model {model_id!r} under {path.parent}", backend=self.backend)
        return json.loads(path.read_text(encoding="utf-8"))


def _learn(rows: Iterable[dict], order: int) -> dict:
    """The most usual word after every run of up to ``order`` words, and after none the most usual first word."""
    follows: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for question, answer in zip(row["messages"], row["messages"][1:], strict=False):
            if answer["role"] != "assistant":
                continue
            past, words = str(question["content"]).split(), [*str(answer["content"]).split(), END]
            follows[""][words[0]] += 1
            for word in words:
                for length in range(1, min(order, len(past)) + 1):
                    follows[" ".join(past[-length:])][word] += 1
                past.append(word)
    return {"order": order, "next": {past: _first(counts) for past, counts in follows.items()}}


def _first(counts: Counter[str]) -> str:
    return min(counts, key=lambda word: (-counts[word], hashlib.sha256(word.encode()).digest()))


class _whole:  # noqa: N801 - reads as a verb
    """A draft beside a file that takes its place once it is written, so that nobody sees half of one."""

    def __init__(self, path: Path) -> None:
        self._path, self._draft = path, path.with_name(f"{path.name}.{secrets.token_hex(4)}")

    def __enter__(self) -> Path:
        return self._draft

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)
