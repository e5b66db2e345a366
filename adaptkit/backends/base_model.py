"""Where an open model's files are, whether they are safe to load, and what they say without loading them.

A model is named ``builtin:…``, by a folder, or by a hub id. Only safetensors are loaded, and never code that comes
with a model.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.backends.chat_template import read_template
from adaptkit.errors import ArtifactError, ConfigError, MissingDependencyError

__all__ = [
    "HUB",
    "Base",
    "find_base",
    "hub_id",
    "license_of",
    "local_folder",
    "mistral_file",
    "sha256_of",
    "tensor_sizes",
]

#: Where models with a hub id come from.
HUB = "huggingface.co"
#: The only files fetched from a hub: configuration, tokenizer and safetensors, never pickles or code.
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "tokenizer.model.v*")
#: The same weights once more, in Mistral's own layout.
HUB_DOUBLES = ("consolidated*",)
#: Parts of a model that do not read text: they stay as they are when it learns from text.
BESIDE_TEXT = ("vision_tower", "vision_model", "visual", "multi_modal_projector")
_MISTRAL_FILE = re.compile(r"tokenizer\.model\.v(\d+)(m\d+)?")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LICENSE = re.compile(r"\A---\n(?:.*\n)*?license: *[\"']?([\w.-]+)[\"']? *\n", re.ASCII)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_WIDTH = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}


def hub_id(model: str) -> str | None:
    """The model as a hub id, or ``None`` when it is built in or a path."""
    if model.startswith("builtin:") or not _HUB_ID.fullmatch(model) or Path(model).expanduser().exists():
        return None
    return model


def local_folder(model: str) -> Path | None:
    """The folder of a model that is on this machine, or ``None`` for a hub id that has not been fetched.

    Raises:
        ConfigError: there is no such built-in model, or no such folder.
        MissingDependencyError: a hub id, and the hub's client is not installed.
    """
    if model.startswith("builtin:"):
        from adaptkit import builtin  # noqa: PLC0415 - only where it is used

        return Path(builtin.path(model.removeprefix("builtin:")))
    name = hub_id(model)
    if name is None:
        folder = Path(model).expanduser().resolve()
        if not folder.is_dir():
            raise ConfigError(
                f"there is no model at {model!r}. A model is builtin:tiny, a folder with config.json and safetensors, "
                "or a hub id such as org/name."
            )
        return folder
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingDependencyError(f"the model {name}", "huggingface_hub", "local") from None
    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def license_of(model: str) -> str | None:
    """The licence of a model, where it lies here and says so."""
    if model.startswith("builtin:"):
        return "apache-2.0"
    try:
        folder = local_folder(model)
        found = folder and _LICENSE.match((folder / "README.md").read_text(encoding="utf-8"))
    except (ValueError, OSError, ImportError):  # a host's own name for a model, or nothing that can be read
        return None
    return found[1] if found else None


def fetch(model: str, *, offline: bool) -> Path:
    """The folder of a model, fetched from the hub first where it has to be.

    Raises:
        ArtifactError: it is not in the local cache and may not be fetched, or fetching failed.
        ConfigError: there is no such model.
    """
    folder = local_folder(model)
    name = hub_id(model)
    if name is None and folder is not None:
        return folder
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra

    try:
        return Path(
            snapshot_download(
                str(name), allow_patterns=list(HUB_FILES), ignore_patterns=list(HUB_DOUBLES), local_files_only=offline
            )
        )
    except Exception as error:
        why = "and the policy allows no network" if offline else f"({type(error).__name__})"
        raise ArtifactError(
            f"the model {name} is not in the local cache and could not be fetched {why}. Fetch it where that is "
            f"allowed (hf download {name}), or give a folder."
        ) from error


@dataclass(frozen=True)
class Base:
    """What a model's files say of it.

    Attributes:
        name: As it was given, a path made absolute.
        folder: Where it is.
        config: Its ``config.json``.
        parameters: Count, from the headers of the safetensors files; 0 when they are not there yet.
        bytes: Size of the weights as stored.
        beside_text: Of the parameters, those of parts that do not read text, such as a vision tower.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    parameters: int
    bytes: int
    beside_text: int = 0

    def size(self, key: str, default: int = 0) -> int:
        """A number of the configuration, from its text part where it has several."""
        found = self.config.get(key, (self.config.get("text_config") or {}).get(key))
        return int(found) if found else default


def find_base(model: str, folder: Path) -> Base:
    """Read what is said about a model, and refuse what is not safe or not whole.

    Raises:
        ArtifactError: no or bad ``config.json``, code of its own, pickles only, a weight file cut short.
    """
    config = read_json(folder / "config.json", f"the model {model}")
    tokenizer = folder / "tokenizer_config.json"
    for said in (config, read_json(tokenizer, f"the model {model}") if tokenizer.is_file() else {}):
        if said.get("auto_map"):
            raise ArtifactError(
                f"the model {model} asks to run code of its own (auto_map), which adaptkit never does. Use a model "
                "whose architecture transformers knows."
            )
    weights = weight_files(folder, f"the model {model}")
    sizes = [size for file in weights for size in tensor_sizes(file).items()]
    name = model if model.startswith("builtin:") or hub_id(model) else str(folder)
    return Base(
        name,
        folder,
        config,
        parameters=sum(count for _, (count, _) in sizes),
        bytes=sum(taken for _, (_, taken) in sizes),
        beside_text=sum(count for tensor, (count, _) in sizes if not set(BESIDE_TEXT).isdisjoint(tensor.split("."))),
    )


def mistral_file(folder: Path) -> Path | None:
    """Mistral's own tokenizer file in a folder, which mistral-common makes token ids from; ``None`` without one.

    ``tekken.json`` and names such as ``tokenizer.model.v3`` are Mistral's alone. ``tokenizer.model`` is the name of
    mistral-common's first version, and of many other models' tokenizer; it counts beside Mistral's architectures, and
    only without a chat template: one that was tuned with a template of its own is asked by that template.
    """
    if (folder / "tekken.json").is_file():
        return folder / "tekken.json"
    versions = [(int(found[1]), file) for file in folder.iterdir() if (found := _MISTRAL_FILE.fullmatch(file.name))]
    if versions:
        return max(versions)[1]
    plain = folder / "tokenizer.model"
    if not plain.is_file() or not (folder / "config.json").is_file():
        return None
    family = read_json(folder / "config.json", "the model").get("model_type")
    said = folder / "tokenizer_config.json"
    template = read_template(folder, read_json(said, "the model") if said.is_file() else {})
    return plain if family in ("mistral", "mixtral") and not template else None


def read_json(file: Path, whose: str) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{whose} has no {file.name} in {file.parent}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{whose}: {file} cannot be read as JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise ArtifactError(f"{whose}: {file} is not a JSON object")
    return found


def weight_files(folder: Path, whose: str) -> list[Path]:
    """The safetensors files of a folder, all those that an index names.

    Raises:
        ArtifactError: there are none, or only pickles, or one is missing or named outside the folder.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = read_json(index, whose).get("weight_map")
        names = sorted(set(named.values())) if isinstance(named, dict) else []
        if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
            raise ArtifactError(f"{whose}: {index} does not name files of its own folder")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ArtifactError(f"{whose} is not whole: {', '.join(missing[:5])} missing in {folder}")
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():  # other files beside it are the same weights in another layout
        return [folder / "model.safetensors"]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
        why = (
            f"only {', '.join(pickles[:5])}: pickles can run code when they are loaded and are refused; convert them "
            "to safetensors"
            if pickles
            else "no .safetensors file"
        )
        raise ArtifactError(f"{whose} has {why} in {folder}")
    return files


def tensor_sizes(file: Path) -> dict[str, tuple[int, int]]:
    """Elements and bytes of each tensor, from the header alone.

    Format: eight bytes little-endian length, that many bytes of JSON, then the data; see the safetensors README.

    Raises:
        ArtifactError: the file is damaged or cut short.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 100_000_000:
                raise ValueError
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        sizes, end = {}, 0
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            end = max(end, last)
            sizes[name] = ((last - first) // _WIDTH.get(entry["dtype"], 1), last - first)
        whole = file.stat().st_size == 8 + length + end
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise ArtifactError(f"{file} is damaged: it is no complete safetensors file. Fetch or train it again.")
    return sizes


def sha256_of(files: Iterable[Path]) -> str:
    """One hash over the bytes of several files, in the order given, as hexadecimal."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
