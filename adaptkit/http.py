"""The one HTTP transport, the rule of where data may go, and the one table from HTTP to adaptkit's errors.

Every request that adaptkit itself sends goes through `client`: time-outs are set, redirects are never followed (a 307
would carry the training file to another origin), proxies and credentials are not picked up from the environment, and
the egress policy is enforced on each request before a connection is opened. Vendor SDKs that accept an HTTP client
are given this one.

`translating` turns what httpx2 raises, and `raise_for` what a service answers, into `adaptkit.errors`:

| what happened | error |
|---|---|
| DNS, refused, TLS, time-out while connecting or waiting for a free connection | `ConnectionFailedError`: never ran |
| time-out or break after that, a garbled answer, 408, 409, 5xx | `ServiceError`: may have run |
| 401, 403, 404 or 410 | `AuthenticationError`, `PermissionDeniedError`, `NotFoundError` |
| 402, 429 with a quota code, 429 | `QuotaError`, `QuotaError`, `RateLimitError` with the seconds to wait |
| any other 4xx, and 3xx | `BackendError`: refused |

The service's own words are part of the message, without what was sent: neither key nor prompt is repeated.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    ConfigError,
    ConnectionFailedError,
    EgressError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServiceError,
)

__all__ = [
    "TIMEOUT",
    "Egress",
    "async_client",
    "checked_url",
    "client",
    "key_from",
    "loopback",
    "raise_for",
    "service_words",
    "translating",
]

#: Seconds. Reads are long because a model may think; connecting is short because a dead host should be found out soon.
TIMEOUT = httpx2.Timeout(600.0, connect=10.0, pool=10.0)
#: Connections of one client: whoever asks decides how much at a time, and an answer of a model takes seconds.
LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=1000)


# where data may go ----------------------------------------------------------------------------------------------------


def _canonical(host: str) -> str:
    """One spelling of a host: lower case, IDNA, no root dot, addresses in their short form.

    Raises:
        ConfigError: this is no host name and no address.
    """
    bare = host.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        name = httpx2.URL(scheme="https", host=bare).raw_host.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError):
        name = ""
    # a parser would read more than a host into these signs: user, port, path, another host
    if not name or not name.isprintable() or set(bare) & set(":/?#@\\%* ") or not all(bare.split(".")):
        raise ConfigError(f"{host!r} is not a plain host name such as api.together.xyz")
    return name


def loopback(host: str) -> bool:
    """Whether a host name or address is this machine: what stays on it is not egress."""
    bare = host.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    if bare in {"localhost", "ip6-localhost"}:
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Egress:
    """Where data may go.

    Attributes:
        hosts: Allowed hosts in canonical spelling; ``None`` allows every host, an empty set none but this machine.
    """

    hosts: frozenset[str] | None = None

    @classmethod
    def parse(cls, value: str | Iterable[str] | None) -> Egress:
        """Read the ``egress`` value of a configuration: absent, ``"none"``, or a list of host names.

        A name stands for itself alone: not for its subdomains, and for every port.

        Raises:
            ConfigError: the value is something else, or an entry is a URL or a pattern and not a host name.
        """
        if value is None:
            return cls()
        if value == "none":
            return cls(frozenset())
        entries = None if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        if entries is None or not all(isinstance(entry, str) for entry in entries):
            raise ConfigError(f'egress must be "none" or a list of host names, got {value!r}')
        hosts, wrong = set(), []
        for entry in entries:
            try:
                if entry == "none":
                    raise ConfigError('egress = "none" stands alone, not in a list')
                hosts.add(_canonical(entry))
            except ConfigError as error:
                wrong.append(str(error))
        if wrong:
            raise ConfigError(f"egress takes plain host names: {'; '.join(wrong)}")
        return cls(frozenset(hosts))

    @property
    def offline(self) -> bool:
        """Whether nothing at all may leave the machine."""
        return self.hosts is not None and not self.hosts

    def allows(self, host: str) -> bool:
        """Whether requests may go to a host."""
        if self.hosts is None or loopback(host):
            return True
        try:
            return _canonical(host) in self.hosts
        except ConfigError:
            return False

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
        self.require([request.url.raw_host.decode("ascii")], "a request")

    async def _acheck(self, request: httpx2.Request) -> None:
        self._check(request)


def checked_url(url: str) -> str:
    """The address of a service as configured, without a slash at its end.

    Raises:
        ConfigError: not an absolute URL; not https although it leaves the machine; or it carries a user, a key, a
            query or a fragment. The message does not repeat it.
    """
    try:
        parsed = httpx2.URL(url)
        host = parsed.host and _canonical(parsed.host)
    except (httpx2.InvalidURL, UnicodeError, ConfigError):
        raise ConfigError("not a URL; it looks like https://host/v1") from None
    if parsed.scheme not in {"http", "https"} or not host:
        raise ConfigError("not an http(s) URL; it looks like https://host/v1")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigError("a URL with a user, a query or a fragment; a key goes into an environment variable")
    if parsed.scheme == "http" and not loopback(host):
        raise ConfigError(f"http:// to {host} would send data in the clear; use https://")
    return str(parsed).rstrip("/")


def key_from(variable: str, who: str) -> str:
    """A key from the environment.

    Args:
        variable: Name of the environment variable.
        who: Who needs it, for the message.

    Raises:
        ConfigError: it is not set, or its value cannot be a key; the value is not in the message.
    """
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(f"{who} needs a key: the environment has no {variable}; set it to the key of the service")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{who}: the value of {variable} cannot be a key: it holds a space, a line break or the like")
    return key


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
        limits=LIMITS,
        follow_redirects=False,
        trust_env=False,
        transport=transport,
        event_hooks={"request": [egress._check], "response": [_read_refusal]},  # noqa: SLF001 - one idea, one module
    )


def _read_refusal(response: httpx2.Response) -> None:
    """Why a request was refused can be read by whoever wanted a stream, too."""
    if not response.is_success:
        response.read()


def async_client(
    egress: Egress, timeout: httpx2.Timeout = TIMEOUT, transport: httpx2.AsyncBaseTransport | None = None
) -> httpx2.AsyncClient:
    """An asynchronous HTTP client under the policy; arguments as for `client`."""
    return httpx2.AsyncClient(
        timeout=timeout,
        limits=LIMITS,
        follow_redirects=False,
        trust_env=False,
        transport=transport,
        event_hooks={"request": [egress._acheck], "response": [_aread_refusal]},  # noqa: SLF001 - one idea, one module
    )


async def _aread_refusal(response: httpx2.Response) -> None:
    if not response.is_success:
        await response.aread()


# from HTTP to errors --------------------------------------------------------------------------------------------------

_NEVER_RAN = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_REFUSED: Mapping[int, tuple[type[BackendError], str]] = {
    401: (AuthenticationError, "does not accept the key"),
    402: (QuotaError, "wants to be paid first"),
    403: (PermissionDeniedError, "does not allow this to the account of the key"),
    404: (NotFoundError, "has nothing there"),
    408: (ServiceError, "gave up waiting for the request"),
    409: (ServiceError, "reports a conflict with another request"),
    410: (NotFoundError, "has it no longer"),
    429: (QuotaError, "has no quota left for this account"),  # unless it is a matter of waiting
}
#: Codes in the body of a 429 with which waiting does not help.
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"})
_KEY_HEADERS = ("authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie")
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid")
#: Characters of a service's message that are kept, and how many in a row count as a repetition of what was sent.
_MAX_WORDS, _RUN = 500, 12


@contextmanager
def translating(backend: str) -> Iterator[None]:
    """Turn what httpx2 raises inside the block into `adaptkit.errors`; serves synchronous and asynchronous code.

    Raises:
        ConnectionFailedError: no connection was made; the request provably never ran.
        ServiceError: the answer was lost or cannot be read; the request may have run.
        ConfigError: the request cannot be expressed in HTTP.
    """
    try:
        yield
    except httpx2.LocalProtocolError:  # its text may hold a header's value
        raise ConfigError(f"backend {backend}: the request cannot be written as HTTP; look at its address") from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise ConfigError(f"backend {backend}: not an address that can be asked: {error}") from None
    except httpx2.RequestError as error:
        host = error.request.url.host
        # the request rides along with the cause: leave its address, take away key and content
        error.request = httpx2.Request(error.request.method, error.request.url.copy_with(query=None))
        what = str(error) or type(error).__name__
        if isinstance(error, _NEVER_RAN):
            message = f"no connection to {host}: {what}. Nothing was sent; check the address and the network"
            raise ConnectionFailedError(message, backend=backend) from error
        raise ServiceError(f"the answer of {host} was lost: {what}", backend=backend) from error


def raise_for(response: httpx2.Response, backend: str, private: Iterable[str] = ()) -> None:
    """Raise what a response other than 2xx means; its body must have been read.

    A backend that knows more about a status (a 410 that means the service has been switched off) looks before.

    Args:
        response: The answer.
        backend: Name of the backend.
        private: Texts that were sent and must not come back in a message, such as prompts; keys in the request's
            headers are hidden in any case.

    Raises:
        BackendError: by the table at the top of this module.
    """
    status = response.status_code
    if 200 <= status < 300:
        return
    hidden = [*_keys(response.request), *private]
    code, words = service_words(_body(response), hidden)
    said = f": {words}" if words else ""
    host = response.request.url.host
    request_id = next((response.headers[name] for name in _REQUEST_ID_HEADERS if name in response.headers), None)
    request_id = _hidden(request_id[:100], hidden) if request_id else None
    if status == 429 and code not in _QUOTA_CODES:
        message, wait = f"{host} asks for fewer requests{said}", _retry_after(response.headers)
        raise RateLimitError(message, retry_after=wait, backend=backend, request_id=request_id)
    kind, what = _meaning(status)
    raise kind(f"{host} {what}{said}", backend=backend, status_code=status, request_id=request_id)


def _meaning(status: int) -> tuple[type[BackendError], str]:
    if status in _REFUSED:
        return _REFUSED[status]
    if status >= 500:
        return ServiceError, "failed"
    if 300 <= status < 400:
        return BackendError, "answers with a redirect, which is never followed; configure the address it moved to"
    return BackendError, "refused the request"


def _body(response: httpx2.Response) -> object:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None if "html" in response.headers.get("content-type", "") else response.text


def service_words(body: object, private: Iterable[str]) -> tuple[str | None, str]:
    """The error code and the words of a service's answer, as one line without what was sent.

    Args:
        body: ``{"error": {"message", "code", "type"}}``, ``{"error": text}``, ``{"message"}``, ``{"detail"}`` or text;
            of anything else there are no words.
        private: Texts that must not come back: keys, prompts.
    """
    code: object = None
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            code = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
            error = error.get("message", error.get("detail"))
        body = error
    words = body if isinstance(body, str) else ""
    named = code if isinstance(code, str) else None
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in words[:_MAX_WORDS]).split())
    # hidden before the code is joined to it, and each by itself: a service may repeat a prompt anywhere
    hidden = _hidden(line, private)
    if named is not None and _hidden(named, private) == named and named not in hidden:
        hidden = f"{hidden} ({named[:80]})" if hidden else named[:80]
    return named, hidden


def _keys(request: httpx2.Request) -> list[str]:
    values = [request.headers[name] for name in _KEY_HEADERS if name in request.headers]
    return values + [value.partition(" ")[2] for value in values]


def _hidden(words: str, private: Iterable[str]) -> str:
    """Words with everything replaced that repeats `_RUN` characters, or the whole, of a private text."""
    covered = bytearray(len(words))
    for text in private:
        size = min(len(text), _RUN)
        if size < 4:  # shorter ones are in every sentence
            continue
        for at in range(len(words) - size + 1):
            if words[at : at + size] in text:
                covered[at : at + size] = b"\1" * size
    pieces: list[str] = []
    for sign, hide in zip(words, covered, strict=True):
        if not hide:
            pieces.append(sign)
        elif not pieces or pieces[-1] != "[…]":
            pieces.append("[…]")
    return "".join(pieces)


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``Retry-After`` (RFC 9110, 10.2.3: seconds or a date)."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        return seconds if 0 <= seconds < math.inf else None
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
