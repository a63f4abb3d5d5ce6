"""The port of the resilience middleware to limits and stored answers, which are looked up together."""

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from synccash.middleware.refusal import Message, Refusal, Send

HASHED_USER = "~"
"""The first character of a user whom limits count by a keyed hash."""

Headers = tuple[tuple[bytes, bytes], ...]


class Caller(NamedTuple):
    """Who sends a request. `tenant` separates idempotency keys; without one, keys are not accepted.

    `user` is whom the caller names, or the part of the path that stands for the user. `body_user` is the user
    in the body, such as the payer's wallet. A user limit counts a request for each of the two.
    """

    ip: str
    tenant: str | None = None
    api_key: str | None = None
    user: str | None = None
    body_user: str | None = None


class GuardedRequest(NamedTuple):
    """What a guard needs to know of a request. `answer_name` is set when an answer may be stored for it."""

    endpoint: str
    caller: Caller
    answer_name: str | None = None

    def without_users(self) -> "GuardedRequest":
        """Return the request as one that user limits do not count."""
        ip, tenant, api_key, _, _ = self.caller
        return GuardedRequest(self.endpoint, Caller(ip, tenant, api_key), self.answer_name)


class GuardDecision(NamedTuple):
    """`refusal` ends the request; `stored_answer` is what the cache holds; `headers` go on every response."""

    refusal: Refusal | None = None
    stored_answer: bytes | None = None
    headers: Headers = ()


class RequestGuard(Protocol):
    """Counts limits and caches answers. The cache may lose any answer, because claims decide."""

    async def admit(self, request: GuardedRequest) -> GuardDecision:
        """Check all limits and look up the stored answer, in one round trip. Never raises."""
        ...

    def keep(self, answer_name: str, stored: bytes) -> None:
        """Store an answer in the background. Never raises."""
        ...


def with_headers(send: Send, headers: Headers) -> Send:
    """Return a `send` that adds headers to the response."""
    if not headers:
        return send

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = dict(message)
            message["headers"] = [*message.get("headers", ()), *headers]
        return send(message)

    return sending
