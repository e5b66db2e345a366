"""Mistral's own form of a tokenizer, ``tekken.json``, extended so that it gives the ids of the extended tokenizer.json.

A tekken token is its bytes, and its rank both orders the merges and makes its id, after the special tokens. New tokens
take the ranks after those that are in use; ranks beyond, which the file holds and the tokenizer never loads, give way.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import read_json
from adaptkit.errors import ArtifactError, MissingDependencyError

__all__ = ["TEKKEN", "bytes_of", "extend_tekken"]

TEKKEN = "tekken.json"
_PLAIN = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
#: The byte that a character stands for in byte-level BPE: printable ones for themselves, the rest from U+0100 on.
_BYTES = {chr(byte): byte for byte in _PLAIN} | {
    chr(0x100 + at): byte for at, byte in enumerate(byte for byte in range(0x100) if byte not in set(_PLAIN))
}


def bytes_of(token: str) -> bytes:
    """The bytes of a token of byte-level BPE."""
    return bytes(_BYTES[character] for character in token)


def extend_tekken(source: Path, target: Path, tokens: Mapping[str, int], tokenizer: Any) -> None:
    """Write a tekken file with more tokens.

    Args:
        source: The base's.
        target: File to write.
        tokens: New tokens in byte-level form, with the ids that they have to get, in their order.
        tokenizer: The extended tokenizer of tokenizers that it is compared with.

    Raises:
        ArtifactError: the ids cannot be the same.
        MissingDependencyError: mistral-common is not installed.
    """
    try:
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingDependencyError("extending tekken.json", "mistral_common", "train") from None
    said = read_json(source, "the tokenizer")
    config = said["config"]
    used = config["default_vocab_size"] - config["default_num_special_tokens"]
    if list(tokens.values()) != list(range(config["default_vocab_size"], config["default_vocab_size"] + len(tokens))):
        raise ArtifactError(
            f"{source} has {config['default_vocab_size']} ids and tokenizer.json beside it another number: new tokens "
            "would get different ids in the two"
        )
    fresh = [_entry(used + at, bytes_of(token)) for at, token in enumerate(tokens)]
    vocabulary = [*said["vocab"][:used], *fresh]
    sizes = {"default_vocab_size": config["default_vocab_size"] + len(tokens), "num_vocab_tokens": len(vocabulary)}
    made = said | {"vocab": vocabulary, "config": config | sizes}
    target.write_text(json.dumps(made, ensure_ascii=False) + "\n", encoding="utf-8")
    tekken = Tekkenizer.from_file(target)
    texts = [entry["token_str"] for entry in fresh if entry["token_str"] is not None]
    if any(
        tekken.encode(text, bos=False, eos=False) != tokenizer.encode(text, add_special_tokens=False).ids
        for text in texts
    ):
        raise ArtifactError(f"{source} and tokenizer.json beside it spell the new tokens differently")


def _entry(rank: int, content: bytes) -> dict[str, Any]:
    try:
        text: str | None = content.decode()
    except UnicodeDecodeError:
        text = None
    return {"rank": rank, "token_bytes": base64.b64encode(content).decode(), "token_str": text}
