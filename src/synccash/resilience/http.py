"""Classifies the responses and exceptions of httpx, aiohttp, requests and urllib. Imports none of them.

>>> policy = Policy("rates", retry=Retry(), breaker=BreakerSettings(), classify=HttpClassifier())
>>> response = await policy.call(client.get, "https://rates.example/ghs")
"""

import errno
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from socket import gaierror
from types import FrameType
from typing import Any

from synccash.resilience._core.http_responses import response_in, status_of
from synccash.resilience.evidence import Evidence
from synccash.resilience.verdict import Outcome, Verdict

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""The methods that may be repeated after an unknown result (RFC 9110, section 9.2.2)."""
RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses after which a repeat may succeed."""
NOT_PROCESSED_STATUSES = frozenset({425, 429})
"""The statuses that say that the request was not processed (RFC 8470, section 5.2; RFC 6585, section 4)."""

_FIRST_ERROR = 400
_FIRST_SERVER_ERROR = 500
_LAST_STATUS = 599
_TOO_MANY_REQUESTS = 429
_UNSUPPORTED_STATUSES = frozenset({501, 505})
_CLIENTS = frozenset({"httpx", "httpcore", "aiohttp", "requests", "urllib3", "urllib", "http"})
# Raised before a connection exists. In urllib3 they are the reason of the MaxRetryError inside the exception.
_CONNECT_ERRORS = frozenset(
    {
        "httpx.ConnectError",
        "httpx.ConnectTimeout",
        "httpx.ProxyError",
        "aiohttp.ClientConnectorError",
        "aiohttp.ClientHttpProxyError",
        "aiohttp.ConnectionTimeoutError",
        "requests.ConnectTimeout",
        "urllib3.ConnectTimeoutError",
        "urllib3.NewConnectionError",
        "urllib3.ProxyError",
    }
)
# The caller's own limit of connections: nothing was sent, and the dependency is not the cause.
_POOL_ERRORS = frozenset({"httpx.PoolTimeout", "urllib3.EmptyPoolError"})
# The request is wrong, or the answer came and the caller could not use it. A repeat changes nothing.
_CALLER_ERRORS = frozenset(
    {
        "httpx.DecodingError",
        "httpx.InvalidURL",
        "httpx.LocalProtocolError",
        "httpx.StreamError",
        "httpx.TooManyRedirects",
        "httpx.UnsupportedProtocol",
        "aiohttp.ContentTypeError",
        "aiohttp.InvalidURL",
        "aiohttp.NonHttpUrlClientError",
        "aiohttp.RedirectClientError",
        "aiohttp.TooManyRedirects",
        "requests.ContentDecodingError",
        "requests.InvalidHeader",
        "requests.InvalidJSONError",
        "requests.InvalidSchema",
        "requests.InvalidURL",
        "requests.MissingSchema",
        "requests.StreamConsumedError",
        "requests.TooManyRedirects",
        "requests.UnrewindableBodyError",
        "requests.URLRequired",
    }
)
_UNREACHABLE = frozenset(
    {errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EPIPE}
)
_REDIRECT_FUNCTIONS = ("resolve_redirects", "http_error_30")  # requests, urllib
_OWN_ERROR = Verdict(Outcome.IGNORED, evidence=Evidence.AMBIGUOUS)
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClassifier:
    """Returns the Verdict for a response or an exception: `Policy(…, classify=HttpClassifier())`.

    | what came | breaker | retry | evidence |
    |---|---|---|---|
    | status below 400; any value that is no response | ok | no | |
    | 425, 429 | failed (425: ok) | yes | refused_later |
    | 408, 500, 502, 503, 504 | failed | yes | ambiguous |
    | 501, 505, other 4xx | ok | no | refused_final |
    | other 5xx | failed | no | ambiguous |
    | name resolution, connection, TLS handshake or proxy failed | failed | yes | not_sent |
    | the client's own connection pool is full | ignored | yes | not_sent |
    | a certificate that is not trusted | failed | no | not_sent |
    | time-out, broken connection, malformed response | failed | yes | ambiguous |
    | wrong URL, too many redirects, undecodable body, any other exception | ignored | no | ambiguous |

    A policy repeats an ambiguous call only if it is `idempotent`. For a request with one of
    `idempotent_methods` the evidence is left out, so that the call is repeated.

    `method`: the method of all calls of the policy. Needed for exceptions that do not name it: time-outs of
    the policy, those of urllib, and those of aiohttp except status errors. A client that followed a redirect
    has sent the first request, so an exception of a later one is ambiguous unless `method` may be repeated.

    `retry_statuses`: the statuses that may be retried. `now`: seconds since 1970, for a Retry-After date in a
    response without a Date header. Raises ValueError or TypeError for invalid arguments.
    """

    method: str | None = None
    idempotent_methods: frozenset[str] = IDEMPOTENT_METHODS
    retry_statuses: frozenset[int] = RETRY_STATUSES
    now: Callable[[], float] = field(default=time.time, repr=False)

    def __post_init__(self) -> None:
        for name in ("idempotent_methods", "retry_statuses"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a set, not a text")
            object.__setattr__(self, name, frozenset(getattr(self, name)))
        if wrong := [method for method in self.idempotent_methods if method != method.upper()]:
            raise ValueError(f"idempotent_methods must be in capitals, not {', '.join(sorted(wrong))}")
        if any(not _FIRST_ERROR <= status <= _LAST_STATUS for status in self.retry_statuses):
            raise ValueError(f"retry_statuses must be from 400 to 599, not {sorted(self.retry_statuses)}")

    def __call__(self, result: Any) -> Verdict:
        """Return the verdict for what a call returned or raised."""
        if isinstance(result, BaseException):
            return self._classify_exception(result)
        status = status_of(result) if hasattr(result, "headers") else None
        return Verdict(Outcome.OK) if status is None else self._classify_response(status, result)

    def _classify_exception(self, error: BaseException) -> Verdict:
        redirected = _was_redirected(error)
        if type(error).__name__ == "URLError":  # urllib wraps what the connection raised, or has a text
            reason = getattr(error, "reason", None)
            if not isinstance(reason, OSError):
                return _OWN_ERROR
            error = reason
        kinds = _kinds(error)
        if kinds & _CALLER_ERRORS:
            return _OWN_ERROR
        sent = redirected and not self._may_repeat(self.method)
        if not sent and kinds & _POOL_ERRORS:
            return Verdict(Outcome.IGNORED, retry=True, evidence=Evidence.NOT_SENT)
        if not sent and any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
            return Verdict(Outcome.FAILED, evidence=Evidence.NOT_SENT)
        if not sent and (kinds & _CONNECT_ERRORS or isinstance(error, ConnectionRefusedError | gaierror)):
            return Verdict(Outcome.FAILED, retry=True, evidence=Evidence.NOT_SENT)
        response = response_in(error)
        status = status_of(response)
        if status is not None:
            # An exception for a redirect: there were too many, or it had no target.
            return _OWN_ERROR if status < _FIRST_ERROR else self._classify_response(status, response)
        if _is_network_error(error, kinds):
            method = self.method or (None if redirected else _method(error))
            return Verdict(Outcome.FAILED, retry=True, evidence=self._unknown(method))
        return _OWN_ERROR

    def _classify_response(self, status: int, response: Any) -> Verdict:
        retry = status in self.retry_statuses
        if status < _FIRST_ERROR:
            return Verdict(Outcome.OK)
        retry_after = _retry_after(response, self.now) if retry else None
        if status in NOT_PROCESSED_STATUSES:
            outcome = Outcome.FAILED if status == _TOO_MANY_REQUESTS else Outcome.OK
            return Verdict(outcome, retry, retry_after, Evidence.REFUSED_LATER)
        if status in _UNSUPPORTED_STATUSES or (status < _FIRST_SERVER_ERROR and not retry):
            return Verdict(Outcome.OK, retry, retry_after, Evidence.REFUSED_FINAL)
        method = self.method or _first_method(response)
        return Verdict(Outcome.FAILED, retry, retry_after, self._unknown(method))

    def _unknown(self, method: str | None) -> Evidence | None:
        return None if self._may_repeat(method) else Evidence.AMBIGUOUS

    def _may_repeat(self, method: str | None) -> bool:
        return method is not None and method.upper() in self.idempotent_methods


def _first_method(response: Any) -> str | None:
    """Return the method of the first request: a client that follows redirects may have changed it."""
    history = getattr(response, "history", None)
    return _method(history[0]) if history else _method(response)


def _method(holder: Any) -> str | None:
    """Return the method of a response or an exception, if it names one."""
    for name in ("request", "request_info"):
        try:
            request = getattr(holder, name, None)
        except RuntimeError:  # httpx: no request has been set
            continue
        method = getattr(request, "method", None)
        if isinstance(method, str):
            return method
    method = getattr(holder, "method", None)
    return method if isinstance(method, str) else None


def _kinds(error: BaseException) -> set[str]:
    """Return the classes of the error and of urllib3's errors inside it, as `package.Class`."""
    found: set[str] = set()
    for one in (error, *_urllib3_errors(error)):
        for kind in type(one).__mro__:
            found.add(f"{kind.__module__.partition('.')[0]}.{kind.__name__}")
    return found


def _urllib3_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield what requests wraps: an exception of urllib3 and its `reason`."""
    for argument in error.args:
        if isinstance(argument, BaseException) and type(argument).__module__.startswith("urllib3"):
            yield argument
            reason = getattr(argument, "reason", None)
            if isinstance(reason, BaseException):
                yield reason


def _is_network_error(error: BaseException, kinds: set[str]) -> bool:
    if any(kind.partition(".")[0] in _CLIENTS for kind in kinds):
        return True
    # Not every OSError: a missing file is the caller's error.
    unreachable = isinstance(error, OSError) and error.errno in _UNREACHABLE
    return unreachable or isinstance(error, ConnectionError | TimeoutError | gaierror | ssl.SSLError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it wraps, at most ten levels deep."""
    todo, seen = [error], set[int]()
    while todo and len(seen) < 10:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        todo += [each for each in inner if isinstance(each, BaseException)]


def _was_redirected(error: BaseException) -> bool:
    """True if the client had followed a redirect when the error occurred.

    No client says so in its exception. httpx and aiohttp hold the responses so far in a local `history`, and
    requests and urllib follow redirects in functions of known names.
    """
    trace = error.__traceback__
    while trace is not None:
        if _follows_redirect(trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def _follows_redirect(frame: FrameType) -> bool:
    client = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if client not in _CLIENTS:
        return False
    return frame.f_code.co_name.startswith(_REDIRECT_FUNCTIONS) or bool(
        "history" in frame.f_code.co_varnames and frame.f_locals.get("history")
    )


def _retry_after(response: Any, now: Callable[[], float]) -> float | None:
    """Return the seconds of Retry-After, given as a number or as a date (RFC 9110, section 10.2.3)."""
    text = _header(response, "Retry-After")
    if text is None:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    until = _timestamp(text)
    if until is None:
        return None
    # The difference of two times of the same clock is right even if that clock is wrong.
    sent = _timestamp(_header(response, "Date"))
    seconds = until - (now() if sent is None else sent)
    return max(0.0, seconds) if isfinite(seconds) else None


def _timestamp(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


def _header(response: Any, name: str) -> str | None:
    headers = getattr(response, "headers", None)
    if headers is None:  # aiohttp: an exception without a response's headers
        return None
    value = headers.get(name)
    value = headers.get(name.lower()) if value is None else value
    return value.strip() if isinstance(value, str) else None
