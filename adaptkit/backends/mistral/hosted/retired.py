"""Mistral's own fine-tuning API, which is gone, and how its hosts are told from a deployment of one's own."""

from __future__ import annotations

import httpx2

from adaptkit.errors import BackendRetiredError

__all__ = ["API", "PUBLIC", "is_public", "retired"]

#: Mistral's hosts: chat, files and the models that an account owns are there, training jobs are not.
PUBLIC = frozenset({"api.mistral.ai", "api.eu.mistral.ai", "api.us.mistral.ai"})
API = "https://api.mistral.ai"
#: The day of the first SDK without jobs (mistralai 2.5.2, client-python pull request 588). Mistral names no other day:
#: its pages say of that July that the paths answer 410 (client-ts pull request 255).
SINCE = "2026-07-03"


def is_public(address: str) -> bool:
    """Whether an address is Mistral's own, however its host is spelled."""
    return httpx2.URL(address).raw_host.decode("ascii").lower().removesuffix(".") in PUBLIC


def retired(backend: str) -> BackendRetiredError:
    """What there is to say to whoever wants to train at Mistral's own API."""
    return BackendRetiredError(
        "Mistral has switched its fine-tuning API off: since July 2026 its paths answer 410 Gone, and its SDK has had "
        "no jobs since 2.5.2 of 2026-07-03. Nothing was sent. Models that you own there can still be used.",
        since=SINCE,
        replacement='where = "cluster", which trains open weights on your own machines, a host of open weights such '
        'as together or fireworks (adaptkit translate writes the table), where = "forge", or base_url for a '
        "deployment of your own that still offers these jobs",
        backend=backend,
    )
