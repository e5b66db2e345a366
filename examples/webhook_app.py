"""A small ASGI application that turns webhooks into polls: `uvicorn webhook_app:app`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread

from adaptkit import Client
from adaptkit.errors import AuthenticationError, BackendError
from adaptkit.webhooks import Receiver

receiver = Receiver(Client(), os.environ.get("WEBHOOK_BACKEND", "openai"), "OPENAI_WEBHOOK_SECRET")


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more and len(body) < 1 << 20:  # deliveries are small
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        job = await to_thread.run_sync(receiver.handle, body, headers)
        status, said = 200, f"{job.id} {job.status}" if job else "nothing to do"
    except AuthenticationError as error:
        status, said = 400, error.message
    except BackendError as error:
        status, said = 500, error.message  # the service delivers again
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": said.encode()})
