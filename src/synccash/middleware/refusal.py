"""An error response as middleware describes it. How it looks on the wire is decided by a `Refuse` function,
which is passed in."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_RENAMED = {
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
}
"""Titles that Python 3.13 changed to those of RFC 9110. A problem keeps its title under every version."""
REFUSAL_CODE = "synccash.refused"
"""Where a request's scope holds the code of the problem that it was answered with."""


def title_of(status: int) -> str:
    """Return the words for an HTTP status, the same under every version of Python."""
    return _RENAMED.get(status) or HTTPStatus(status).phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One error response. `retry_after_s` in seconds; `errors` are (dotted path, message).

    `members` are further members of the problem document, such as the id of another order.
    """

    status: int
    code: str
    detail: str
    retryable: bool = False
    retry_after_s: float | None = None
    errors: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Refuse(Protocol):
    """Sends a refusal as the response of a request."""

    async def __call__(self, scope: Scope, send: Send, refusal: Refusal) -> None: ...
