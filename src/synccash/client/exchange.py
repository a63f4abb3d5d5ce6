"""The request and response of an API call, independent of the HTTP library, and the rules for retries."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from synccash.client.decoding import UnreadableError
from synccash.client.errors import (
    APIConnectionError,
    APIError,
    RateLimitError,
    RequestInProgressError,
    error_for,
)
from synccash.client.models import Payment, Payout, Refund
from synccash.resilience import Evidence, Outcome, Retry, Verdict

T = TypeVar("T")
RETRY = Retry(attempts=8, base=0.5, cap=8.0)
IDLE_S = 4.0
"""How long an idle connection is kept, in seconds. Servers keep it longer, so it is open when reused."""


@dataclass(frozen=True, slots=True)
class Service:
    """The address of the service and the API key."""

    secure: bool
    host: str
    port: int | None
    prefix: str
    api_key: str = field(repr=False)

    @classmethod
    def at(cls, url: str, api_key: str) -> "Service":
        """Parse `http(s)://host[:port][/path]`; the path may end with /api/v1. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ValueError("url: expected http(s)://host[:port] of a SyncCash service")
        if not _is_visible(api_key):
            raise ValueError("api_key: expected sk_…, without blanks; was a line break copied with it?")
        prefix = parts.path.rstrip("/").removesuffix("/api/v1")
        return cls(parts.scheme == "https", parts.hostname, parts.port, prefix, api_key)

    @property
    def origin(self) -> str:
        """The URL without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"http{'s' if self.secure else ''}://{host}{port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request. All its repeats have the same idempotency key `key`, so money moves once.

    `repeatable`: a second execution has no further effect. `also`: statuses outside 2xx that are not errors.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    body: bytes | None = field(default=None, repr=False)
    key: str | None = None
    user_id: str | None = None
    repeatable: bool = True
    also: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.key is not None and not (_is_visible(self.key) and len(self.key) <= 255):
            raise ValueError("idempotency_key: expected 1 to 255 visible ASCII characters")
        if self.user_id is not None and not _is_visible(self.user_id):
            raise ValueError("user_id: expected visible ASCII characters")

    def headers(self, api_key: str) -> dict[str, str]:
        """Return the headers of the request."""
        headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if self.user_id is not None:
            headers["X-User-Id"] = self.user_id
        return headers

    def result(self, answer: Answer) -> T:
        """Decode the response. Raises APIError, and APIConnectionError if it is not from a SyncCash
        service."""
        try:
            raw: Any = json.loads(answer.body) if answer.body else {}
            if not 200 <= answer.status < 300 and not self._takes(answer):
                raise self._refused(answer, raw)
            value = self.read(raw)
        except (UnreadableError, ValueError) as error:
            reason = f"HTTP {answer.status} that is no answer of a SyncCash service ({error}): a proxy's?"
            raise APIConnectionError(reason, self.key) from None
        if isinstance(value, Payment | Refund | Payout) and "idempotent-replayed" in answer.headers:
            return replace(value, replayed=True)
        return value

    def _takes(self, answer: Answer) -> bool:
        return answer.status in self.also and "problem" not in answer.headers.get("content-type", "")

    def _refused(self, answer: Answer, raw: Any) -> APIError:
        problem: dict[str, Any] = raw if isinstance(raw, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        wait = answer.headers.get("retry-after", "")
        retry_after = float(wait) if wait.isascii() and wait.isdigit() else None
        return error_for(answer.status, problem, self.key, retry_after)


def judge(result: object) -> Verdict:
    """Classify the result of one try. If it may have had an effect, only a `repeatable` call is repeated."""
    if isinstance(result, APIConnectionError):
        evidence = Evidence.AMBIGUOUS if result.sent else Evidence.NOT_SENT
        return Verdict(Outcome.FAILED, retry=True, evidence=evidence)
    if isinstance(result, RateLimitError | RequestInProgressError):
        evidence = Evidence.REFUSED_LATER
        return Verdict(Outcome.OK, retry=True, retry_after=result.retry_after, evidence=evidence)
    if isinstance(result, APIError) and result.status >= 500:
        evidence = Evidence.AMBIGUOUS
        return Verdict(Outcome.FAILED, retry=True, retry_after=result.retry_after, evidence=evidence)
    return Verdict(Outcome.IGNORED if isinstance(result, BaseException) else Outcome.OK)


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and text != ""
