"""The one HTTP transport, and the rule of where data may go.

Every request that adaptkit itself sends goes through `client`: time-outs are set, redirects are never followed (a 307
would carry the training file to another origin), proxies and credentials are not picked up from the environment, and
the egress policy is enforced on each request before a connection is opened. Vendor SDKs that accept an HTTP client
are given this one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

import httpx2

from adaptkit.errors import ConfigError, EgressError

__all__ = ["Egress", "async_client", "client", "loopback"]

#: Seconds. Reads are long because a model may think; connecting is short because a dead host should be found out soon.
TIMEOUT = httpx2.Timeout(600.0, connect=10.0, pool=10.0)


def loopback(host: str) -> bool:
    """Whether a host name or address is this machine: what stays on it is not egress."""
    if host in {"localhost", "ip6-localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Egress:
    """Where data may go.

    Attributes:
        hosts: Allowed host names, lower case; ``None`` allows every host, an empty set none but this machine.
    """

    hosts: frozenset[str] | None = None

    @classmethod
    def parse(cls, value: str | Iterable[str] | None) -> Egress:
        """Read the ``egress`` value of a configuration: absent, ``"none"``, or a list of host names.

        Raises:
            ConfigError: the value is something else, or an entry is a URL or a pattern and not a host name.
        """
        if value is None:
            return cls()
        if isinstance(value, str):
            if value == "none":
                return cls(frozenset())
            raise ConfigError(f'egress must be "none" or a list of host names, got {value!r}')
        hosts = frozenset(host.lower() for host in value)
        wrong = sorted(host for host in hosts if not host or set(host) & set("/*@ ") or host.count(":") == 1)
        if wrong:
            raise ConfigError(f"egress takes plain host names such as api.together.xyz, not {', '.join(wrong)}")
        return cls(hosts)

    @property
    def offline(self) -> bool:
        """Whether nothing at all may leave the machine."""
        return self.hosts is not None and not self.hosts

    def allows(self, host: str) -> bool:
        """Whether requests may go to a host."""
        return self.hosts is None or host.lower() in self.hosts or loopback(host)

    def require(self, hosts: Iterable[str], who: str) -> None:
        """Refuse unless every host is allowed.

        Args:
            hosts: Host names.
            who: Who wants to send, for the message.

        Raises:
            EgressError: names every host that is not allowed; nothing has been sent.
        """
        denied = sorted({host for host in hosts if not self.allows(host)})
        if denied:
            allowed = ", ".join(sorted(self.hosts or ())) or "none"
            raise EgressError(
                f"{who} would send data to {', '.join(denied)}, which the egress policy does not allow "
                f"(allowed: {allowed}). Nothing was sent. Add the host to [policy] egress, or choose another backend."
            )

    def _check(self, request: httpx2.Request) -> None:
        self.require([request.url.host], "a request")

    async def _acheck(self, request: httpx2.Request) -> None:
        self._check(request)


def client(
    egress: Egress, timeout: httpx2.Timeout = TIMEOUT, transport: httpx2.BaseTransport | None = None
) -> httpx2.Client:
    """A synchronous HTTP client under the policy.

    Args:
        egress: Where it may send to.
        timeout: Seconds, by phase.
        transport: For tests: answers instead of the network.
    """
    return httpx2.Client(
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        transport=transport,
        event_hooks={"request": [egress._check]},  # noqa: SLF001 - one idea, one module
    )


def async_client(
    egress: Egress, timeout: httpx2.Timeout = TIMEOUT, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    """An asynchronous HTTP client under the policy; arguments as for `client`."""
    return httpx2.AsyncClient(
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        transport=transport,
        event_hooks={"request": [egress._acheck]},  # noqa: SLF001 - one idea, one module
    )
