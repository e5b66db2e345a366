"""Training data in S3: once per content, in parts, never more of it in memory than one part."""

from __future__ import annotations

import base64
import hashlib
import io
from contextlib import suppress
from typing import Any

from adaptkit.adapter import DataFile
from adaptkit.backends.bedrock.aws import BACKEND, Aws
from adaptkit.backends.bedrock.config import BedrockConfig
from adaptkit.errors import BackendError, NotFoundError, PermissionDeniedError, ServiceError

__all__ = ["Storage"]

#: Bytes of a part, and how many there may be.
PART, MOST_PARTS = 8 << 20, 10_000


class Storage:
    """The folder of a configuration. Ids are ``s3://bucket/key``, and the key is made from the content's hash.

    Args:
        aws: To ask with.
        config: Bucket, folder and owner.
    """

    def __init__(self, aws: Aws, config: BedrockConfig) -> None:
        self._aws, self._config = aws, config
        self._owner = config.bucket_owner or config.account_id

    def upload(self, file: DataFile) -> str:
        """Bring a file there, unless it is there; it shows whole or not at all.

        Raises:
            BackendError: it could not be brought there; nothing of it is left.
        """
        key = f"{self._config.prefix}/data/{file.sha256}.jsonl"
        file_id = f"s3://{self._config.bucket}/{key}"
        if not self.has(file_id):
            if file.size <= PART:
                content = io.BytesIO()
                file.data.write(content, file.format)
                self._put("put_object", content.getvalue(), Key=key)
            else:
                self._in_parts(file, key)
        return file_id

    def has(self, file_id: str) -> bool:
        """Whether a file is there; where these credentials may not look, it is not said to be."""
        try:
            self._ask("head_object", file_id)
        except (NotFoundError, PermissionDeniedError):  # without the right to list, S3 hides what is missing
            return False
        return True

    def read(self, file_id: str) -> bytes:
        """The whole of a small file.

        Raises:
            NotFoundError: there is none.
        """
        body = self._ask("get_object", file_id)["Body"]
        return self._aws.carefully(lambda: bytes(body.read()))

    def delete(self, file_id: str) -> None:
        """Delete a file; one that is not there is no error."""
        with suppress(NotFoundError):
            self._ask("delete_object", file_id)

    def listed(self, token: str | None) -> dict[str, Any]:
        """One page of the folder."""
        prefix = f"{self._config.prefix}/data/"
        return self._asked("list_objects_v2", Bucket=self._config.bucket, Prefix=prefix, ContinuationToken=token)

    def _in_parts(self, file: DataFile, key: str) -> None:
        begun = self._asked("create_multipart_upload", Bucket=self._config.bucket, Key=key, ChecksumAlgorithm="SHA256")[
            "UploadId"
        ]
        parts = _Parts(self, key, begun, max(PART, -(-file.size // MOST_PARTS)))
        try:
            file.data.write(parts, file.format)  # type: ignore[arg-type]  # it writes and nothing else
            self._asked(
                "complete_multipart_upload",
                Bucket=self._config.bucket,
                Key=key,
                UploadId=begun,
                MultipartUpload={"Parts": parts.finished()},
            )
        except BaseException:
            with suppress(BackendError):  # S3 bills what lies there unfinished
                self._asked("abort_multipart_upload", Bucket=self._config.bucket, Key=key, UploadId=begun)
            raise

    def put_part(self, content: bytes, **where: Any) -> dict[str, Any]:
        """Send one part; gives what completes the upload."""
        answer = self._put("upload_part", content, **where)
        return {"ETag": answer["ETag"], "ChecksumSHA256": _checksum(content), "PartNumber": where["PartNumber"]}

    def _put(self, operation: str, content: bytes, **where: Any) -> dict[str, Any]:
        answer = self._asked(
            operation, Bucket=self._config.bucket, Body=io.BytesIO(content), ChecksumSHA256=_checksum(content), **where
        )
        if not answer.get("ETag"):
            raise ServiceError("S3 did not say that it kept the data", backend=BACKEND)
        return answer

    def _ask(self, operation: str, file_id: str) -> dict[str, Any]:
        bucket, _, key = file_id.removeprefix("s3://").partition("/")
        return self._asked(operation, Bucket=bucket, Key=key)

    def _asked(self, operation: str, **parameters: Any) -> dict[str, Any]:
        # a bucket that was deleted and made again by somebody else must not get the data
        return self._aws.ask("s3", operation, ExpectedBucketOwner=self._owner, **parameters)


class _Parts:
    """A file to write to, which is sent away in parts.

    Args:
        storage: Where to.
        key: Key of the object.
        upload_id: S3's id of the upload.
        size: Bytes of a part.
    """

    def __init__(self, storage: Storage, key: str, upload_id: str, size: int) -> None:
        self._storage, self._size, self._held = storage, size, bytearray()
        self._where = {"Key": key, "UploadId": upload_id}
        self._sent: list[dict[str, Any]] = []

    def write(self, content: bytes) -> int:
        self._held += content
        while len(self._held) >= self._size:
            self._send(bytes(self._held[: self._size]))
            del self._held[: self._size]
        return len(content)

    def finished(self) -> list[dict[str, Any]]:
        """Send the rest; gives all parts."""
        if self._held:
            self._send(bytes(self._held))
            self._held.clear()
        return self._sent

    def _send(self, part: bytes) -> None:
        self._sent.append(self._storage.put_part(part, PartNumber=len(self._sent) + 1, **self._where))


def _checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
