"""A model in this process: loads, answers, streams, and answers many conversations together."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaptkit.adapter import ChatOptions
from adaptkit.backends.base_model import fetch, hub_id, local_folder
from adaptkit.backends.causal_model import load_causal
from adaptkit.backends.chat_tokenizer import Tokenizer, open_tokenizer
from adaptkit.backends.model_folder import ModelFolder, base_of, open_folder, tokenizer_of
from adaptkit.backends.vocabulary.weights import make_room
from adaptkit.errors import ArtifactError, DataError, MissingDependencyError, UnsupportedError
from adaptkit.types import Likelihood, Message, Reply, Usage

__all__ = ["LocalModel", "load_weights", "quiet"]

#: New tokens when a caller names no number.
MAX_TOKENS = 512
#: Conversations answered together; and tokens of prompt together, which bounds the memory.
BATCH, BATCH_TOKENS = 64, 16_384
#: Tokens that go through together where every one of them gets a figure for each word of the vocabulary.
LIKELIHOOD_TOKENS = 2_048


class LocalModel:
    """A loaded model. Answers are greedy unless a temperature is given; one thread at a time is served.

    Args:
        model: A causal language model of transformers, with or without PEFT weights.
        tokenizer: Its tokenizer and chat template.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self._turn = threading.Lock()

    @classmethod
    def load(cls, model: str, *, offline: bool, stand_in: str | None = None) -> LocalModel:
        """Load a base (``builtin:…``, a folder, a hub id) or the folder of a trained model.

        Args:
            model: Which.
            offline: Whether nothing may be fetched.
            stand_in: Base for weights from elsewhere whose own is not to be had.

        Raises:
            ArtifactError: it is damaged or not safe to load.
            ConfigError: there is no such model.
            MissingDependencyError: torch, transformers or peft are not installed.
        """
        folder = fetch(model, offline=offline) if hub_id(model) else local_folder(model)
        found = open_folder(Path(str(folder)))
        try:
            import torch  # noqa: F401, PLC0415
            import transformers  # noqa: F401, PLC0415
        except ImportError as error:
            raise MissingDependencyError("a local model", error.name or "torch", "local") from error
        base = base_of(found, offline=offline, stand_in=stand_in)
        return cls(load_weights(found, base), open_tokenizer(tokenizer_of(found, base)))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation as a prompt."""
        return len(self.tokenizer.prompt(messages))

    def chat(self, messages: Sequence[Message], options: ChatOptions) -> Reply:
        """Answer one conversation.

        Raises:
            DataError: the conversation is too long, or the chat template refuses it.
        """
        return self.generate([messages], options)[0]

    def stream(self, messages: Sequence[Message], options: ChatOptions) -> Iterator[str]:
        """The answer piece by piece; closing the iterator stops the model."""
        from transformers import TextIteratorStreamer  # noqa: PLC0415

        prompt = self.tokenizer.prompt(messages)
        streamer = TextIteratorStreamer(self.tokenizer.tokenizer, skip_prompt=True, skip_special_tokens=True)
        closed = threading.Event()
        failures: list[BaseException] = []

        def answer() -> None:
            try:
                self._answer([prompt], options, streamer=streamer, closed=closed)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that reads
                failures.append(error)
                streamer.end()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield from _until_stop(streamer, options.stop)
        finally:
            closed.set()
            thread.join()
        if failures:
            raise failures[0]

    def generate(self, conversations: Sequence[Sequence[Message]], options: ChatOptions) -> list[Reply]:
        """Answers in the order of the conversations; those of like length go through the model together."""
        prompts = [self.tokenizer.prompt(messages) for messages in conversations]
        replies: list[Reply | None] = [None] * len(prompts)
        for group in _groups([len(prompt) for prompt in prompts]):
            made = self._answer([prompts[index] for index in group], options)
            for index, ids in zip(group, made, strict=True):
                replies[index] = self._reply(prompts[index], ids, options)
        return [reply for reply in replies if reply is not None]

    def likelihood(self, conversations: Sequence[Sequence[Message]]) -> list[Likelihood]:
        """How likely the last turn of each conversation is after those before it, with the token that ends it.

        Raises:
            DataError: a conversation does not end with the assistant, or is too long.
        """
        asked = [self._answered(messages, number) for number, messages in enumerate(conversations, 1)]
        nats = self._all_nats([(before, said) for before, said, _ in asked])
        return [
            Likelihood(nats=total, tokens=len(said), characters=len(text))
            for total, (_, said, text) in zip(nats, asked, strict=True)
        ]

    def text_likelihood(self, texts: Sequence[str]) -> list[Likelihood]:
        """How likely plain texts are, with the token that ends each: what is learned of raw text.

        The first token is predicted too, after what stands between texts: the token that begins one, if the tokenizer
        puts it there, else the one that ends the text before. Bits per character then compare among vocabularies.

        Raises:
            DataError: a text is too long.
            UnsupportedError: the tokenizer has no token that ends a text.
        """
        asked = [self._plain(text, number) for number, text in enumerate(texts, 1)]
        nats = self._all_nats(asked)
        return [
            Likelihood(nats=total, tokens=len(said), characters=len(text))
            for total, (_, said), text in zip(nats, asked, texts, strict=True)
        ]

    def _plain(self, text: str, number: int) -> tuple[list[int], list[int]]:
        """Token ids of what stands before a text, and of the text with its end."""
        eos, bos = (getattr(self.tokenizer.tokenizer, f"{name}_token_id") for name in ("eos", "bos"))
        if eos is None:
            raise UnsupportedError("the tokenizer has no token that ends a text, so that texts cannot be told apart")
        ids = self.tokenizer.text(text).ids
        before, said = (ids[:1], ids[1:]) if bos is not None and ids[0] == bos else ([eos], ids)
        self._refuse_if_long(before + said, f"text {number}")
        return before, said

    def _answered(self, messages: Sequence[Message], number: int) -> tuple[list[int], list[int], str]:
        """Token ids of what stands before the last turn, of that turn, and its text."""
        if len(messages) < 2 or messages[-1].role != "assistant":
            raise DataError(f"conversation {number} does not end with an answer of the assistant")
        before, said = self.tokenizer.answer(messages[:-1], messages[-1:])
        self._refuse_if_long(before + said, f"conversation {number}")
        return before, said, messages[-1].text

    def _refuse_if_long(self, ids: Sequence[int], whose: str) -> None:
        reads = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if isinstance(reads, int) and len(ids) > reads:
            raise DataError(f"{whose} has {len(ids)} tokens and the model reads at most {reads}: shorten it")

    def _all_nats(self, asked: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """`_nats` of any number, those of like length together."""
        found = [0.0] * len(asked)
        for group in _groups([len(before) + len(said) for before, said in asked], LIKELIHOOD_TOKENS):
            for index, total in zip(group, self._nats([asked[index] for index in group]), strict=True):
                found[index] = total
        return found

    def _nats(self, asked: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        import torch  # noqa: PLC0415

        longest, pad = max(len(before) + len(said) for before, said in asked), self.tokenizer.pad
        rows = [[*before, *said, *[pad] * (longest - len(before) - len(said))] for before, said in asked]
        ids = torch.tensor(rows, device=self.model.device)
        # padded on the right, where a causal model does not look from what stands before
        with self._turn, torch.inference_mode():
            logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").double()
        return [
            float(row[len(before) - 1 : len(before) + len(said) - 1].sum())
            for row, (before, said) in zip(losses, asked, strict=True)
        ]

    def _reply(self, prompt: list[int], ids: list[int], options: ChatOptions) -> Reply:
        ended = bool(ids) and ids[-1] in self._ends
        text = self.tokenizer.tokenizer.decode(ids, skip_special_tokens=True)
        cut = min((at for word in options.stop if word and (at := text.find(word)) >= 0), default=None)
        usage = Usage(input_tokens=len(prompt), output_tokens=len(ids))
        if cut is not None:
            return Reply(text=text[:cut], usage=usage, finish_reason="stop")
        return Reply(text=text, usage=usage, finish_reason="stop" if ended else "length")

    @property
    def _ends(self) -> set[int]:
        """Ids that end an answer: those of the model's generation settings and of its tokenizer."""
        known = self.model.generation_config.eos_token_id
        ends = set(known if isinstance(known, list) else [] if known is None else [known])
        eos = self.tokenizer.eos
        return ends if eos is None else ends | {eos}

    def _answer(
        self,
        prompts: list[list[int]],
        options: ChatOptions,
        streamer: Any = None,
        closed: threading.Event | None = None,
    ) -> list[list[int]]:
        """New ids for each prompt, up to and with the one that ends it."""
        import torch  # noqa: PLC0415
        from transformers import GenerationConfig  # noqa: PLC0415

        longest = max(map(len, prompts))
        limit = self._limit(longest, options)
        pad = self.tokenizer.pad
        rows = [[pad] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        heat = options.temperature or 0.0
        # a configuration of our own: what the model's author set for sampling would make greedy answers differ
        settings: dict[str, Any] = {"do_sample": heat > 0, "max_new_tokens": limit, "pad_token_id": pad}
        if heat > 0:
            settings |= {"temperature": heat, "top_k": 0, "top_p": 1.0}
        if options.stop:
            settings["stop_strings"] = list(options.stop)
        ends = sorted(self._ends)
        with self._turn, torch.inference_mode(), torch.random.fork_rng(enabled=heat > 0):
            if heat > 0:
                torch.manual_seed(options.seed) if options.seed is not None else torch.seed()
            made = self.model.generate(
                input_ids=torch.tensor(rows, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                generation_config=GenerationConfig(eos_token_id=ends or None, **settings),
                tokenizer=self.tokenizer.tokenizer,
                stopping_criteria=_stopper(closed) if closed is not None else None,
                streamer=streamer,
            )
        return [_until_end(row, set(ends)) for row in made[:, longest:].tolist()]

    def _limit(self, longest: int, options: ChatOptions) -> int:
        reads = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        room = reads - longest if isinstance(reads, int) else MAX_TOKENS
        if room < 1:
            raise DataError(f"the conversation has {longest} tokens and the model reads at most {reads}: shorten it")
        return min(options.max_tokens or MAX_TOKENS, room)


def load_weights(found: ModelFolder, base: Path | None) -> Any:
    """The model of a checked folder, on its base if it is not whole: in fp32 on a CPU, on a GPU in its own precision.

    Raises:
        ArtifactError: the weights do not fit the base.
    """
    with quiet():
        import torch  # noqa: PLC0415

        gpu = torch.cuda.is_available()
        model = load_causal(base or found.folder, dtype="auto" if gpu else torch.float32)
        if base is not None:
            import peft  # noqa: PLC0415

            make_room(model, found.rows)
            try:
                model = peft.PeftModel.from_pretrained(model, str(found.folder))
            except (RuntimeError, ValueError) as error:
                raise ArtifactError(f"the weights in {found.folder} do not fit the base in {base}") from error
    return model.to("cuda") if gpu else model


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar and no notes about names that change in a later version, on the caller's terminal."""
    from transformers.utils import logging  # noqa: PLC0415

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _groups(lengths: list[int], tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Indices that are answered together, sorted by length so that little is padded."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if group and (len(group) == BATCH or (len(group) + 1) * lengths[group[0]] > tokens):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    last = next((at for at, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: last + 1]


def _stopper(closed: threading.Event) -> Any:
    import torch  # noqa: PLC0415
    from transformers import StoppingCriteriaList  # noqa: PLC0415

    def stop(ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG001
        return torch.full((ids.shape[0],), closed.is_set(), device=ids.device, dtype=torch.bool)

    return StoppingCriteriaList([stop])


def _until_stop(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Pieces up to the first stop text; what could be the start of one is held back until it is clear."""
    words = [word for word in stop if word]
    held = ""
    longest = max(map(len, words), default=1) - 1
    for piece in pieces:
        held += piece
        cut = min((at for word in words if (at := held.find(word)) >= 0), default=None)
        if cut is not None:
            if held[:cut]:
                yield held[:cut]
            return
        ready = len(held) - longest
        if ready > 0:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held
