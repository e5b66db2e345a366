"""A trained model as a folder: PEFT weights or a whole model, with a manifest that says what it is and proves it whole.

The folder is a plain PEFT or transformers folder that other programs read as well. ``manifest.json`` adds the base and
its hash, the hashes of every file, the data's fingerprint, the configuration, versions and figures.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from adaptkit.backends.base_model import (
    Base,
    fetch,
    find_base,
    hub_id,
    local_folder,
    mistral_file,
    read_json,
    sha256_of,
    tensor_sizes,
    weight_files,
)
from adaptkit.durable import sync
from adaptkit.errors import AdaptkitWarning, ArtifactError, ConfigError

__all__ = ["FORMAT", "ModelFolder", "base_hash", "base_of", "copy_tokenizer", "finish", "open_folder", "tokenizer_of"]

FORMAT = "adaptkit-model-1"
MANIFEST = "manifest.json"
#: Bytes of base weights up to which their hash is compared on loading; above, their size alone (a second a gigabyte).
HASHED_BASE = 1 << 30
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "processor_config.json",
    "preprocessor_config.json",
)
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py")


@dataclass(frozen=True)
class ModelFolder:
    """A folder that has been checked.

    Attributes:
        folder: Where.
        base: Name of the base for PEFT weights, ``None`` for a whole model.
        manifest: What the manifest says; empty for a folder that adaptkit did not make.
    """

    folder: Path
    base: str | None
    manifest: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Rows that the base's vocabulary must have, where the model has tokens of its own; else 0."""
        added = self.manifest.get("vocabulary")
        if added is None:
            return 0
        try:
            return int(added["first"]) + int(added["added"])
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(f"the manifest of the model in {self.folder} is damaged: vocabulary") from None


def open_folder(folder: Path) -> ModelFolder:
    """Check a folder before anything of it is loaded.

    Raises:
        ArtifactError: it is not there, holds pickles or code, is damaged, or names files outside itself.
    """
    if not folder.is_dir():
        raise ArtifactError(f"there is no model at {folder}: it was deleted, or never finished")
    manifest = _checked_manifest(folder)
    whose = f"the model in {folder}"
    if not (folder / "adapter_config.json").is_file():
        find_base(str(folder), folder)
        return ModelFolder(folder, None, manifest)
    unsafe = sorted(
        file.name for file in folder.iterdir() if file.suffix in _UNSAFE and file.name.startswith("adapter_")
    )
    if unsafe or not (folder / "adapter_model.safetensors").is_file():
        raise ArtifactError(
            f"{whose} has no adapter_model.safetensors{', only ' + ', '.join(unsafe) if unsafe else ''}: pickles can "
            "run code when they are loaded and are refused; convert them to safetensors"
        )
    tensor_sizes(folder / "adapter_model.safetensors")
    config = read_json(folder / "adapter_config.json", whose)
    if config.get("auto_mapping"):
        raise ArtifactError(f"{whose} asks for classes of its own (auto_mapping), which adaptkit never loads")
    base = manifest.get("base", {}).get("model") or config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ArtifactError(f"{whose} does not say which base it belongs to")
    return ModelFolder(folder, base, manifest)


def _checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, every file that it names compared with its hash; empty where adaptkit did not write one."""
    file = folder / MANIFEST
    if not file.is_file():
        return {}
    manifest = read_json(file, f"the model in {folder}")
    if manifest.get("format") != FORMAT:
        if str(manifest.get("format", "")).startswith("adaptkit-model-"):
            raise ArtifactError(f"{file} was written by a newer adaptkit ({manifest['format']}): upgrade")
        return {}
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise ArtifactError(f"{file} is damaged: it names no files")
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or path.is_symlink():
            raise ArtifactError(f"{file} names {name!r}, which is not a plain file of the folder")
        if not path.is_file():
            raise ArtifactError(
                f"the model in {folder} is not whole: {name} is missing. Train it again, or restore it."
            )
        if sha256_of([path]) != digest:
            raise ArtifactError(f"the model in {folder} is damaged: {name} has changed since training")
    return manifest


def base_hash(base: Base) -> str:
    """Hash of a base's weights: of its safetensors files in the order of their names."""
    return sha256_of(weight_files(base.folder, f"the model {base.name}"))


def check_base(model: ModelFolder, base: Base) -> None:
    """Refuse weights over another base than the one they were trained on.

    Raises:
        ArtifactError: it is another one.
    """
    known = model.manifest.get("base", {})
    same = known.get("bytes") in (None, base.bytes)
    if same and known.get("sha256") and base.bytes <= HASHED_BASE:
        same = base_hash(base) == known["sha256"]
    if not same:
        raise ArtifactError(
            f"the base {base.name} is not the one that the model in {model.folder} was trained on: its weights have "
            "changed since. Put the former ones back, or train again."
        )


def base_of(model: ModelFolder, *, offline: bool, stand_in: str | None = None) -> Path | None:
    """The folder of the base that PEFT weights belong to; ``None`` for a whole model.

    Args:
        model: The folder of the weights.
        offline: Whether nothing may be fetched.
        stand_in: What to put weights on that come from elsewhere, where the base that they name is not to be had: a
            host names its bases as it likes.

    Raises:
        ArtifactError: it cannot be found, or is not the one that the weights were trained on.
    """
    if model.base is None:
        return None
    try:
        folder = _found(model.base, offline=offline)
    except (ConfigError, ArtifactError) as error:
        if model.manifest or stand_in is None:
            raise ArtifactError(f"the base of the model in {model.folder} is gone: {error}") from error
        warnings.warn(
            f"the weights in {model.folder} name the base {model.base!r}, which is not here; they go on {stand_in}",
            AdaptkitWarning,
            stacklevel=2,
        )
        return _found(stand_in, offline=offline)
    check_base(model, find_base(model.base, folder))
    return folder


def _found(name: str, *, offline: bool) -> Path:
    return fetch(name, offline=offline) if hub_id(name) else Path(str(local_folder(name)))


def tokenizer_of(model: ModelFolder, base: Path | None) -> Path:
    """The folder with the tokenizer: the model's own, else that of its base."""
    own = base is None or (model.folder / "tokenizer.json").is_file() or mistral_file(model.folder) is not None
    return model.folder if own else Path(str(base))


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer and the chat template as they are."""
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    mistral = mistral_file(source)
    if mistral is not None:  # a bare tokenizer.model is told by the model's configuration, which PEFT weights lack
        shutil.copyfile(mistral, target / (f"{mistral.name}.v1" if mistral.suffix == ".model" else mistral.name))


def canonical_adapter(folder: Path, base: str) -> None:
    """Rewrite ``adapter_config.json`` so that equal runs give equal bytes: sorted, with the base by its full name."""
    file = folder / "adapter_config.json"
    config = json.loads(file.read_bytes())
    config["base_model_name_or_path"] = base
    for name in ("target_modules", "modules_to_save", "exclude_modules"):
        if isinstance(config.get(name), list):
            config[name] = sorted(config[name])
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def finish(draft: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest and put the folder in its place, whole or not at all."""
    for file in draft.iterdir():
        file.chmod(0o600)
    files = {file.name: sha256_of([file]) for file in sorted(draft.iterdir())}
    manifest = {"format": FORMAT, **facts, "versions": _versions(), "files": files}
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in draft.iterdir():
        sync(file)
    if target.exists():  # a worker that was killed between here and saying so
        shutil.rmtree(target)
    draft.rename(target)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("adaptkit", "torch", "transformers", "peft", "trl"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
