"""The trained models of a folder, and bases: loaded when they are first asked, written for other programs, deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.backends.base_model import local_folder
from adaptkit.backends.local_jobs import OFFLINE, QUIET
from adaptkit.errors import ArtifactError, ConfigError, NotFoundError, UnsupportedError
from adaptkit.types import Snapshot, Status

if TYPE_CHECKING:
    from adaptkit.backends.local_model import LocalModel

__all__ = ["LocalModels", "model_of"]


class LocalModels:
    """What answers on this machine.

    Args:
        home: Folder of the backend; its own models lie in ``home/models``.
        backend: Its name, for errors.
        stand_in: Base for weights from elsewhere whose own is not to be had.
        offline: Whether nothing may be fetched.
    """

    def __init__(self, home: Path, backend: str, stand_in: str, *, offline: bool) -> None:
        self._home, self._backend, self._stand_in, self._offline = home, backend, stand_in, offline
        self._loaded: dict[str, LocalModel] = {}

    def get(self, model_id: str) -> LocalModel:
        """A model by the path of its folder, or a base by its name; the first call loads it.

        Raises:
            NotFoundError: there is no such model.
            ArtifactError: it is damaged or not safe to load.
        """
        loaded = self._loaded.get(model_id)
        if loaded is None:
            from adaptkit.backends.local_model import LocalModel  # noqa: PLC0415 - where it is used

            for name, value in {**QUIET, **(OFFLINE if self._offline else {})}.items():
                os.environ.setdefault(name, value)
            try:
                loaded = LocalModel.load(model_id, offline=self._offline, stand_in=self._stand_in)
            except ConfigError as error:
                raise NotFoundError(str(error), backend=self._backend) from error
            self._loaded[model_id] = loaded
        return loaded

    def export(self, model_id: str, form: str, path: Path) -> Path:
        """Write a model as ``merged``, ``gguf`` or ``ollama``; see `adaptkit.backends.export`."""
        from adaptkit.backends.export import export  # noqa: PLC0415 - where it is used

        return export(model_id, form, path, offline=self._offline, stand_in=self._stand_in)

    def download(self, model_id: str, path: Path) -> Path:
        """Copy a model's folder.

        Raises:
            ArtifactError: the model is damaged, or ``path`` is not empty.
        """
        from adaptkit.backends.model_folder import open_folder  # noqa: PLC0415 - where it is used

        source = open_folder(Path(str(local_folder(model_id)))).folder
        if path.exists() and any(path.iterdir()):
            raise ArtifactError(f"{path} is not empty; nothing was written")
        shutil.copytree(source, path, dirs_exist_ok=True)
        return path

    def delete(self, model_id: str) -> None:
        """Delete a model that a job here made; bases and folders elsewhere are not touched.

        Raises:
            UnsupportedError: no job here made it.
        """
        folder = Path(model_id)
        if folder.parent != (self._home / "models").resolve():
            raise UnsupportedError(
                f"{model_id} was not made by a job of {self._home}; delete it yourself if you mean to"
            )
        self._loaded.pop(model_id, None)
        if folder.is_dir():
            doomed = folder.with_name(f".{folder.name}.deleted")
            folder.rename(doomed)  # gone at once, even if deleting is interrupted
            shutil.rmtree(doomed)

    def close(self) -> None:
        """Let go of what is loaded."""
        self._loaded.clear()


def model_of(heard: Snapshot, backend: str) -> str:
    """The folder of the model that a job made.

    Raises:
        NotFoundError: it made none, or that was deleted.
    """
    model = heard.raw.get("model")
    if heard.status is not Status.SUCCEEDED or not model:
        raise NotFoundError(f"job {heard.job_id} has no model: it is {heard.raw_status}", backend=backend)
    if not Path(model).is_dir():
        raise NotFoundError(f"the model of job {heard.job_id} was deleted: {model} is gone", backend=backend)
    return str(model)
