"""Asking AWS: botocore writes, signs and reads requests, adaptkit's own transport carries them.

botocore brings an HTTP stack of its own, with proxies from the environment, S3's redirects to other regions and
retries. It also has a hook that is asked for an answer before a request is sent; here it is given one, so every request
of these clients, those for credentials (STS, SSO) among them, goes through `adaptkit.http`: under the egress policy,
once, to the address that it was written for. What asks a machine's or container's metadata service for credentials does
not use that hook, and is left out of the chain where the policy does not allow the service's address.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from adaptkit.backends.bedrock.config import BedrockConfig
from adaptkit.backends.bedrock.faults import refusal, translation
from adaptkit.errors import MissingDependencyError, ServiceError
from adaptkit.http import Egress, client, translating

__all__ = ["Aws", "hosts"]

T = TypeVar("T")

BACKEND = "bedrock"
_METADATA = "http://169.254.169.254"
_CONTAINER = "http://169.254.170.2"
_SIGNED = ("authorization", "x-amz-security-token")


def _domain(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _addresses(config: BedrockConfig) -> dict[str, str]:
    """Where each service is asked: named here and not looked up, so that the policy knows it beforehand."""
    region, own = config.region, config.endpoints
    return {
        "bedrock": own.bedrock or f"https://bedrock.{region}.{_domain(region)}",
        "bedrock-runtime": own.runtime or f"https://bedrock-runtime.{region}.{_domain(region)}",
        "s3": own.s3 or f"https://s3.{region}.{_domain(region)}",
    }


def _bucket_in_host(config: BedrockConfig) -> bool:
    """Whether the bucket is part of the host, so that a policy can allow it alone; a dot in it breaks TLS there."""
    return config.endpoints.s3 is None and "." not in config.bucket


def hosts(config: BedrockConfig) -> tuple[str, ...]:
    """Every host that is asked, those for credentials aside."""
    found = {service: urlsplit(url).hostname or "" for service, url in _addresses(config).items()}
    if _bucket_in_host(config):
        found["s3"] = f"{config.bucket}.{found['s3']}"
    return tuple(dict.fromkeys(found.values()))


class Aws:
    """The services that a configuration needs, asked one request at a time; nothing happens before the first.

    Args:
        config: Region, profile and addresses.
        egress: Where requests may go.
    """

    def __init__(self, config: BedrockConfig, egress: Egress) -> None:
        self._config, self._egress = config, egress
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._http: httpx2.Client | None = None

    def ask(
        self,
        service: str,
        operation: str,
        *,
        needs: Iterable[str] = (),
        private: Iterable[str] = (),
        **parameters: Any,
    ) -> dict[str, Any]:
        """One request.

        Args:
            service: ``bedrock``, ``bedrock-runtime`` or ``s3``.
            operation: Name of the client's method.
            needs: What must be in the answer, since botocore reads half an answer as one without it.
            private: Texts that must not come back in a message, such as prompts.
            parameters: As botocore's service model has them; what is ``None`` is left out.

        Returns:
            What botocore read.

        Raises:
            BackendError: by the table of `adaptkit.backends.bedrock.faults`.
            ConfigError: there are no credentials, or no such profile.
            EgressError: the policy does not allow the host.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        answer: dict[str, Any] = self.carefully(lambda: getattr(self._client(service), operation)(**given), private)
        missing = [name for name in needs if name not in answer]
        if missing:
            raise ServiceError(f"{operation} was answered without {', '.join(missing)}", backend=BACKEND)
        return answer

    def carefully(self, call: Callable[[], T], private: Iterable[str] = ()) -> T:
        """Let botocore do something without a log of what is sent, and translate what it raises.

        Args:
            call: What.
            private: Texts that must not come back in a message.
        """
        hidden = list(private)  # what is signed comes to it
        before = _hidden.set(hidden)
        try:
            return call()
        except Exception as error:
            found = translation(error, hidden)
            if found is None:
                raise
        finally:
            _hidden.reset(before)
        raise found

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            if self._http is not None:
                self._http.close()
            self._http, self._session, self._clients = None, None, {}

    # setting up -------------------------------------------------------------------------------------------------------

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._made(service)
                _silence()
            return self._clients[service]

    def _made(self, service: str) -> Any:
        if self._session is None:
            self._session = self._opened()
        made = self._session.client(service, endpoint_url=_addresses(self._config)[service])
        # botocore sends to another region what it has redirected once; so it is told that it has
        made.meta.events.register_last("before-parameter-build.s3", _not_redirected)
        return made

    def _opened(self) -> Any:
        try:
            import boto3.session  # noqa: PLC0415 - an extra
            import botocore.config  # noqa: PLC0415
            import botocore.session  # noqa: PLC0415
        except ImportError:
            raise MissingDependencyError("the bedrock backend", "boto3", "bedrock") from None
        core = botocore.session.Session(profile=self._config.aws_profile)
        core.set_config_variable("region", self._config.region)
        core.set_default_client_config(
            botocore.config.Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                defaults_mode="legacy",  # "auto" would ask the metadata service
                ignore_configured_endpoint_urls=True,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "virtual" if _bucket_in_host(self._config) else "path"},
            )
        )
        self._http = client(self._egress)
        core.register("before-send", partial(_carry, self._http))
        self._forbid_metadata(core)
        return boto3.session.Session(botocore_session=core)

    def _forbid_metadata(self, core: Any) -> None:
        machine = core.get_config_variable("ec2_metadata_service_endpoint") or _METADATA
        container = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or _CONTAINER
        chain = core.get_component("credential_provider")
        for name, address in (("iam-role", machine), ("container-role", container)):
            if not self._egress.allows(urlsplit(address).hostname or ""):
                chain.get_provider(name).load = lambda: None  # as where there is no such service


# sending --------------------------------------------------------------------------------------------------------------

#: While adaptkit asks: texts that must come out nowhere. botocore logs whole requests, answers and signatures at DEBUG.
_hidden: ContextVar[list[str] | None] = ContextVar("adaptkit_hidden_from_aws", default=None)


def _carry(http: httpx2.Client, request: Any, **_: Any) -> Any:
    """Send what botocore wrote, and give what it reads an answer from.

    Raises:
        BackendError: no answer, a redirect, or one that says JSON and is none.
    """
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415 - an extra; it asked us

    body = request.body.read() if hasattr(request.body, "read") else request.body
    headers = _headers(request.headers, request.url)
    hidden = _hidden.get()
    if hidden is not None:  # AWS repeats what was signed when a signature is wrong
        hidden += (value for name, value in headers.items() if name.lower() in _SIGNED)
    with translating(BACKEND):
        written = http.build_request(request.method, request.url, content=body, headers=headers)
        response = http.send(written, stream=True)
        if not (request.stream_output and response.is_success):
            response.read()
    refusal(response)
    _whole_json(response)
    return AWSResponse(request.url, response.status_code, dict(response.headers), _Body(response))


class _Body:
    """An answer's body as botocore reads it."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    def stream(self, *_: Any) -> Iterator[bytes]:
        with translating(BACKEND):
            yield from self._response.iter_bytes()

    def read(self, *_: Any) -> bytes:
        return b"".join(self.stream())

    def close(self) -> None:
        self._response.close()


def _headers(written: Mapping[str, Any], url: str) -> dict[str, str]:
    """What was signed, and no more; the transport does not wait for a ``100 Continue``."""
    named = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in written.items()
    }
    kept = {name: value for name, value in named.items() if name.lower() != "expect"}
    return {"Host": urlsplit(url).netloc, "Accept-Encoding": "identity", **kept}


def _whole_json(response: httpx2.Response) -> None:
    """Not left to botocore, which takes half a JSON document, or a page of HTML, for an empty answer."""
    kind = response.headers.get("content-type", "")
    if response.is_success and response.is_closed and response.content and ("json" in kind or "html" in kind):
        try:
            msgspec.json.decode(response.content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            host = response.request.url.host
            message = f"{host} answered with {kind.partition(';')[0][:80]} that is no JSON object"
            raise ServiceError(message, backend=BACKEND, status_code=response.status_code) from None


def _not_redirected(context: dict[str, Any], **_: Any) -> None:
    context.setdefault("s3_redirect", {})["redirected"] = True


def _silence() -> None:
    """Keep what botocore says while adaptkit asks, and below INFO, out of the log; others' use of it is not touched."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("botocore", "boto3"):
            logger = logging.getLogger(name)
            if _hide not in logger.filters:
                logger.addFilter(_hide)


def _hide(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or _hidden.get() is None
