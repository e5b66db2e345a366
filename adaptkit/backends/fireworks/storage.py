"""Files at the signed addresses that Fireworks gives: without the key, and only at hosts that the plan names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2

from adaptkit.backends.rest import Rest
from adaptkit.errors import EgressError, ServiceError
from adaptkit.http import Egress, loopback

__all__ = ["Storage"]


class Storage:
    """Where files lie.

    Args:
        rest: What sends.
        hosts: Hosts that the plan names; this machine is allowed besides where the service itself runs on it.
        local: Whether it does.
    """

    def __init__(self, rest: Rest, hosts: tuple[str, ...], *, local: bool) -> None:
        self._rest, self._hosts, self._local = rest, Egress.parse(hosts), local

    def require(self, url: str) -> None:
        """Refuse an address that is elsewhere, or not https.

        Raises:
            EgressError: it is; nothing was sent.
            ServiceError: it is no address.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            raise ServiceError("Fireworks gave an address for a file that is none", backend="fireworks") from None
        host = parsed.raw_host.decode("ascii")
        if self._local and loopback(host):
            return
        if loopback(host) or not self._hosts.allows(host):
            raise EgressError(
                f"Fireworks keeps the file at {host}, which the plan does not name; no file was sent or fetched. "
                f"If that is right, add it to the target's storage, and to [policy] egress where there is one"
            )
        if parsed.scheme != "https":
            raise EgressError(f"Fireworks names {host} without https, which would send the file in the clear; refused")

    def put(self, url: str, file: Path, headers: Mapping[str, str]) -> None:
        """Send a file.

        Raises:
            BackendError, EgressError: as for `Rest.put_file`.
        """
        self.require(url)
        self._rest.put_file(url, file, headers)

    def get(self, url: str) -> Iterator[bytes]:
        """The pieces of a file.

        Raises:
            BackendError, EgressError: as for `Rest.read_file`.
        """
        self.require(url)
        return self._rest.read_file(url)
