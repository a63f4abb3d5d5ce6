"""Calls the HTTP API in the same process, as the operator who is signed in.

The console has no rules of its own: authentication, roles, second operators and the audit log are those of
the API's handlers.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec

from synccash.api.request_context import REQUEST_ID
from synccash.api.route_scopes import BASE
from synccash.middleware.refusal import App, Message, Scope

_FORWARDED = frozenset({b"host", b"x-forwarded-for", b"forwarded", b"user-agent"})
"""The headers that a call keeps from the browser's request: the limits of sign-ins count by address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered: the status, and the decoded JSON."""

    status: int
    document: Any


class CallRefusedError(Exception):
    """The API answered with a problem. The text is its detail, which is written for people."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or f"The API answered {status}."))
        self.status = status
        self.code = str(problem.get("code", "error"))
        self.errors: list[dict[str, str]] = list(problem.get("errors") or ())
        self.retry_after: int | None = problem.get("retry_after")


@dataclass(frozen=True, slots=True)
class ManagementCalls:
    """`app` is the API behind the layer that gives requests their ids."""

    app: App

    async def call(
        self,
        browser: Scope,
        method: str,
        path: tuple[str, ...],
        *,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request. `browser` is the scope of the request that this one is made for.

        Raises CallRefusedError for a problem.
        """
        content = b"" if body is None else msgspec.json.encode(body)
        given = {name: value for name, value in (query or {}).items() if value is not None}
        resource = f"{BASE}/" + "/".join(path)
        fields = [(name, value) for name, value in browser["headers"] if name in _FORWARDED]
        fields.append((b"content-length", str(len(content)).encode()))
        if body is not None:
            fields.append((b"content-type", b"application/json"))
        if token is not None:
            fields.append((b"authorization", f"Bearer {token}".encode()))
        fields += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        scope: Scope = {
            "type": "http",
            "asgi": browser["asgi"],
            "http_version": "1.1",
            "method": method,
            "scheme": browser.get("scheme", "http"),
            "path": resource,
            "raw_path": quote(resource, safe="/:").encode(),
            "root_path": "",
            "query_string": urlencode(given).encode(),
            "headers": fields,
            "client": browser.get("client"),
            "server": browser.get("server"),
            "extensions": {},
            REQUEST_ID: browser.get(REQUEST_ID),
        }
        response = _Response()
        await self.app(scope, _sender(content), response.send)
        document = msgspec.json.decode(response.body) if response.body else None
        if response.status >= 400:
            raise CallRefusedError(
                response.status, cast("dict[str, Any]", document) if isinstance(document, dict) else {}
            )
        return Answer(response.status, document)


class _Response:
    """Collects the response of an ASGI application."""

    __slots__ = ("_parts", "status")

    def __init__(self) -> None:
        self.status = 500
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))


def _sender(content: bytes) -> Any:
    """Return a `receive` that gives the whole body once, and then waits: the caller does not hang up."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    return receive
