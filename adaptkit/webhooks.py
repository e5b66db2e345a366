"""Webhooks that say that a job may have changed: verified, told apart, and never believed.

A delivery only wakes a poll: what it says of the job is not used, so a forged or late one can at most cost a request.
The signatures are those of Standard Webhooks (https://www.standardwebhooks.com), which OpenAI sends.

```python
receiver = Receiver(client, "openai", secret_env="OPENAI_WEBHOOK_SECRET")
job = receiver.handle(body, headers)  # the raw bytes, and the headers
```

`examples/webhook_app.py` is a small ASGI application around it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from adaptkit.client import Client
from adaptkit.errors import AuthenticationError, ConfigError
from adaptkit.http import key_from
from adaptkit.job import Job
from adaptkit.steps import Clock, SystemClock

__all__ = ["TOLERANCE", "Delivery", "Receiver", "sign", "verify"]

#: Seconds by which a delivery may be old, or ahead of this machine's clock.
TOLERANCE = 300.0


class Delivery(msgspec.Struct, frozen=True):
    """One delivery whose signature is good: ``id`` is the sender's, the same when it sends again."""

    id: str
    type: str
    data: dict[str, Any] = {}


class _Body(msgspec.Struct):
    type: str
    data: dict[str, Any] = {}


def sign(secret: str, delivery_id: str, at: int, body: bytes) -> str:
    """The signature of a delivery.

    Args:
        secret: ``whsec_`` and base64, as the sender shows it.
        delivery_id: Its id.
        at: Unix time, seconds.
        body: The raw bytes.

    Returns:
        ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``.

    Raises:
        ConfigError: the secret is no such text; it is not in the message.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigError("the webhook's secret is not whsec_ followed by base64; copy it as the service shows it")
    digest = hmac.digest(key, f"{delivery_id}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    """A delivery, if it is what it says.

    Args:
        secret: As for `sign`.
        headers: Of the request, in any case.
        body: The raw bytes: JSON that was decoded and encoded again has another signature.
        now: Unix time, seconds.

    Raises:
        AuthenticationError: a header is missing, the signature is wrong, or the delivery is older than `TOLERANCE`.
        ConfigError: the secret cannot be one.
    """
    given = {name.lower(): value for name, value in headers.items()}
    delivery_id, stamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not delivery_id or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        raise AuthenticationError("a webhook without webhook-id and webhook-timestamp was refused")
    if abs(now - int(stamp)) > TOLERANCE:
        raise AuthenticationError("a webhook was refused: it is too old, or a clock is wrong")
    expected = sign(secret, delivery_id, int(stamp), body).encode()
    offered = given.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(expected, signature.encode()) for signature in offered):
        raise AuthenticationError("a webhook with a wrong signature was refused")
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise AuthenticationError("a webhook was refused: it is signed, and no JSON of the usual form") from None
    return Delivery(delivery_id, said.type, said.data)


class Receiver:
    """Turns deliveries into polls.

    Args:
        client: Knows the jobs.
        backend: Name of the backend whose service delivers.
        secret_env: Name of the environment variable with the webhook's secret.
        clock: Time; tests pass `adaptkit.testing.FakeClock`.
    """

    def __init__(self, client: Client, backend: str, secret_env: str, clock: Clock | None = None) -> None:
        self._client, self._backend, self._secret_env = client, backend, secret_env
        self._clock = clock or SystemClock()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def handle(self, body: bytes, headers: Mapping[str, str]) -> Job | None:
        """Verify a delivery and ask once how its job stands.

        Args:
            body: The raw bytes of the request.
            headers: Its headers.

        Returns:
            The job as it stands now; ``None`` for a delivery that came before, is about something else, or is about a
            job that the journal does not know.

        Raises:
            AuthenticationError: answer 400; the sender is not who it says.
            BackendError: asking failed; answer 500, and the service delivers again.
        """
        now = self._clock.time()
        delivery = verify(key_from(self._secret_env, "the webhook"), headers, body, now)
        job_id = delivery.data.get("id")
        if not isinstance(job_id, str) or self._came_before(delivery.id, now):
            return None
        job = next((job for job in self._client.jobs() if job.ref.backend == self._backend and job.id == job_id), None)
        if job is not None:
            job.refresh()
        self._seen[delivery.id] = now  # only now: what failed may come again
        return job

    def _came_before(self, delivery_id: str, now: float) -> bool:
        """Whether the delivery was handled; ids are kept for as long as their signature is accepted."""
        while self._seen and now - next(iter(self._seen.values())) > 2 * TOLERANCE:
            self._seen.popitem(last=False)
        return delivery_id in self._seen
