"""The port of the resilience middleware to limits and stored answers, which are looked up together."""

from typing import NamedTuple, Protocol

from synccash.middleware.refusal import Refusal

Headers = tuple[tuple[bytes, bytes], ...]


class Caller(NamedTuple):
    """Who sends a request. `tenant` separates idempotency keys; without one, keys are not accepted."""

    ip: str
    tenant: str | None = None
    api_key: str | None = None
    user: str | None = None


class GuardedRequest(NamedTuple):
    """What a guard needs to know of a request. `answer_name` is set when an answer may be stored for it."""

    endpoint: str
    caller: Caller
    answer_name: str | None = None


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
