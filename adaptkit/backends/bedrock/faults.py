"""From AWS's error codes, and from what botocore raises, to adaptkit's errors: one table.

| code, or what happened | error |
|---|---|
| throttling | `RateLimitError`: never ran |
| the signature, the key or its session is not accepted | `AuthenticationError` |
| access denied | `PermissionDeniedError` |
| no such resource, key or bucket | `NotFoundError` |
| a quota is used up, too many tags | `QuotaError` |
| a conflict with another request, a failure of the service or of the model | `ServiceError`: may have run |
| anything else that is refused | `BackendError` |
| no credentials, no such profile | `ConfigError`; credentials that could not be had, `AuthenticationError` |
| an answer that cannot be read | `ServiceError`: may have run |

A code that is not in the table goes by its HTTP status. Errors of the network come from `adaptkit.http` as they are.
No botocore error is kept as the cause: it repeats what AWS said in full, which may hold signed headers and prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2

from adaptkit.errors import (
    AuthenticationError,
    BackendError,
    BackendRetiredError,
    ConfigError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServiceError,
)
from adaptkit.http import service_words

__all__ = ["refusal", "translation"]

BACKEND = "bedrock"

_CODES: Mapping[type[BackendError], str] = {
    RateLimitError: "ThrottlingException Throttling ThrottledException TooManyRequestsException RequestLimitExceeded "
    "SlowDown",
    AuthenticationError: "UnrecognizedClientException InvalidClientTokenId InvalidAccessKeyId "
    "InvalidSignatureException SignatureDoesNotMatch IncompleteSignature MissingAuthenticationToken "
    "MissingAuthenticationTokenException ExpiredTokenException ExpiredToken InvalidToken TokenRefreshRequired "
    "RequestExpired RequestTimeTooSkewed",
    PermissionDeniedError: "AccessDeniedException AccessDenied AllAccessDisabled AccountProblem",
    NotFoundError: "ResourceNotFoundException NoSuchKey NoSuchBucket NoSuchUpload",
    QuotaError: "ServiceQuotaExceededException TooManyTagsException",
    ServiceError: "ConflictException ResourceInUseException OperationAborted InternalServerException InternalError "
    "ServiceUnavailableException ServiceUnavailable RequestTimeout ModelTimeoutException ModelErrorException "
    "ModelNotReadyException ModelStreamErrorException",
    BackendError: "ValidationException PermanentRedirect AuthorizationHeaderMalformed "
    "IllegalLocationConstraintException",
}
_KINDS = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
_STATUSES: Mapping[int, type[BackendError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServiceError,
    409: ServiceError,
    424: ServiceError,
    429: RateLimitError,
}
_WHAT: Mapping[type[BackendError], str] = {
    RateLimitError: "asks for fewer requests",
    AuthenticationError: "does not accept the credentials",
    PermissionDeniedError: "does not allow this to these credentials, or to the role",
    NotFoundError: "has nothing there",
    QuotaError: "has no quota left for this account",
    ServiceError: "did not carry it out as asked",
    BackendError: "refused the request",
}
#: With these S3 says that the bucket lies elsewhere.
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


def refusal(response: httpx2.Response) -> None:
    """Raise for answers that botocore must not see, since it would follow them.

    Raises:
        BackendRetiredError: 410.
        BackendError: a redirect.
    """
    host, status = response.request.url.host, response.status_code
    if status == 410:
        raise BackendRetiredError(
            f"{host} answers that this is gone.",
            since=datetime.now(UTC).date().isoformat(),  # at the latest: the answer names no day
            replacement="another backend (adaptkit translate)",
            backend=BACKEND,
            status_code=status,
        )
    if 300 <= status < 400 and status != 304:
        message = f"{host} answers with a redirect, which is never followed: does the bucket lie in another region?"
        raise BackendError(message, backend=BACKEND, status_code=status)


def translation(error: Exception, private: Iterable[str]) -> Exception | None:
    """The error to raise instead, ``None`` for what is no error of botocore.

    Args:
        error: What was raised; raise the other one outside of its handler, so that it is not its context either.
        private: Texts that must not come back in a message.
    """
    module = type(error).__module__.partition(".")[0]
    if module not in ("botocore", "boto3"):
        return None
    from botocore import exceptions  # noqa: PLC0415 - it is there, since it raised

    if isinstance(error, exceptions.ClientError):
        return _refused(error, private)
    _, words = service_words({"message": str(error)}, private)
    if isinstance(error, exceptions.NoCredentialsError):
        return ConfigError("the bedrock backend needs AWS credentials: boto3 finds none. Set AWS_ACCESS_KEY_ID and "
                           "AWS_SECRET_ACCESS_KEY, or aws_profile; a machine's own role is asked for only where the "
                           "egress policy allows the metadata service's address")  # fmt: skip
    if isinstance(error, exceptions.ProfileNotFound | exceptions.PartialCredentialsError | exceptions.ConfigParseError):
        return ConfigError(f"the AWS configuration cannot be used: {words}")
    if isinstance(error, _credential_errors(exceptions)):
        return AuthenticationError(f"AWS credentials could not be had: {words}", backend=BACKEND)
    if isinstance(error, exceptions.ParamValidationError):
        return BackendError(f"the request cannot be written; nothing was sent: {words}", backend=BACKEND)
    return ServiceError(f"the answer cannot be read: {words}", backend=BACKEND)


def _credential_errors(exceptions: Any) -> tuple[type[Exception], ...]:
    return (
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
        exceptions.MetadataRetrievalError,
        exceptions.NoAuthTokenError,
        exceptions.SSOError,
        exceptions.LoginError,
    )


def _refused(error: Any, private: Iterable[str]) -> BackendError:
    """What an error that AWS answered with means."""
    said, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    code = str(said.get("Code", ""))
    code = code[:1].upper() + code[1:]  # inside a stream they begin in lower case
    status = about.get("HTTPStatusCode")
    kind = _KINDS.get(code) or _by_status(status if isinstance(status, int) else 0, code)
    message = str(said.get("Message", ""))
    page = message.lstrip().startswith("<")  # what stands before a service may answer with HTML
    _, words = service_words({"message": "" if page else message, "code": code}, private)
    where = f"AWS ({error.operation_name}) {_WHAT[kind]}: {words}"
    if code in _ELSEWHERE:
        where += ". Does the bucket lie in another region than the configured one? Requests are sent to that one alone"
    facts: dict[str, Any] = {"backend": BACKEND, "status_code": status, "request_id": about.get("RequestId")}
    if kind is RateLimitError:
        return RateLimitError(where, retry_after=_seconds(about.get("HTTPHeaders", {}).get("retry-after")), **facts)
    return kind(where, **facts)


def _by_status(status: int, code: str) -> type[BackendError]:
    status = int(code) if code.isdecimal() else status
    return _STATUSES.get(status) or (ServiceError if status >= 500 or not status else BackendError)


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
