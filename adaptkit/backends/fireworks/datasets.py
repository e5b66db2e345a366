"""Datasets at Fireworks: made under an id that tells the content, sent to a signed address, looked at by the host."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptkit.adapter import DataFile
from adaptkit.backends.fireworks.names import given_id, marked, words_of
from adaptkit.backends.fireworks.storage import Storage
from adaptkit.backends.rest import Rest, segment
from adaptkit.errors import BackendError, DataError, NotFoundError, ServiceError, UnsupportedError

__all__ = ["Datasets"]

_FILE = "data.jsonl"
#: States of encryption in which the host takes plain files; with any other, data would have to be encrypted here.
_PLAIN = frozenset({None, "", "ENCRYPTION_STATE_UNSPECIFIED", "ENCRYPTION_STATE_PLAINTEXT"})
#: Codes of a dataset's status with which the fault is not in the data.
_AT_FAULT = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN", "ABORTED", "DEADLINE_EXCEEDED", "CANCELLED"})


class Datasets:
    """The datasets of an account.

    Args:
        rest: The service.
        storage: Where its signed addresses lie.
        account: Id of the account.
    """

    def __init__(self, rest: Rest, storage: Storage, account: str) -> None:
        self._rest, self._storage = rest, storage
        self._list = f"/v1/accounts/{account}/datasets"
        self._prefix = f"accounts/{account}/datasets/"

    def upload(self, file: DataFile) -> str:
        """Send a file and let the host look at it; what an interrupted upload left is gone on with.

        Raises:
            BackendError: the host refused, or could not be heard.
            UnsupportedError: the account wants files that are encrypted before they are sent.
            EgressError: the host wants the file to be sent where the policy, or the plan, does not say.
        """
        chosen = marked(file.sha256[:40])
        made = self._made(chosen, file)
        if made.get("encryptionState") not in _PLAIN:
            raise UnsupportedError(
                f"the Fireworks account encrypts datasets with a key of its own ({made['encryptionState']}), and "
                "adaptkit does not encrypt before sending; nothing was sent. Make the dataset with firectl"
            )
        if made.get("state") != "READY":
            self._send(chosen, file)
        return self._prefix + chosen

    def _made(self, chosen: str, file: DataFile) -> dict[str, Any]:
        wanted = {"userUploaded": {}, "exampleCount": str(file.rows)}
        try:
            return self._rest.send("POST", self._list, {"datasetId": chosen, "dataset": wanted})
        except ServiceError as error:
            if error.status_code != 409:
                raise
            try:
                return self._get(chosen)  # the content is the same, as the id is its hash
            except NotFoundError:  # on its way out
                raise error from None

    def _send(self, chosen: str, file: DataFile) -> None:
        path = f"{self._list}/{segment(chosen)}"
        # one file, whatever its size: each call would forget the files of the one before
        answer = self._rest.send("POST", f"{path}:getUploadEndpoint", {"filenameToSize": {_FILE: str(file.size)}})
        signed = answer.get("filenameToSignedUrls")
        url = signed.get(_FILE) if isinstance(signed, Mapping) else None
        if not isinstance(url, str):
            raise BackendError(f"Fireworks gave no address to send dataset {chosen} to", backend="fireworks")
        with tempfile.TemporaryDirectory(prefix="adaptkit-") as folder:
            converted = Path(folder, _FILE)
            with converted.open("wb") as out:
                file.data.write(out, file.format)
            size = converted.stat().st_size
            # both headers are part of the address's signature
            ranged = {"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": f"{size},{size}"}
            self._storage.put(url, converted, ranged)
        self._rest.send("POST", f"{path}:validateUpload", {})

    def is_there(self, name: str) -> bool:
        """Whether the account has a dataset."""
        try:
            self._get(given_id(name))
        except NotFoundError:
            return False
        return True

    def is_ready(self, name: str) -> bool:
        """Whether the host has looked at a dataset and takes it.

        Raises:
            DataError: it does not; carries its words.
            BackendError: it could not look at it, or asking failed.
        """
        heard = self._get(given_id(name))
        words = words_of(heard.get("status"))
        if words is None:
            return heard.get("state") == "READY"
        if heard["status"]["code"] in _AT_FAULT:
            raise BackendError(
                f"Fireworks could not look at dataset {name}: {words}. Nothing was paid; delete it there "
                "and submit again",
                backend="fireworks",
            )
        raise DataError(f"Fireworks does not take the data of {name}: {words}. Nothing was paid.")

    def delete(self, name: str) -> None:
        """Delete a dataset; one that is not there is no error."""
        try:
            self._rest.send("DELETE", f"{self._list}/{segment(given_id(name))}")
        except NotFoundError:
            return

    def _get(self, dataset: str) -> dict[str, Any]:
        return self._rest.send("GET", f"{self._list}/{segment(dataset)}")
