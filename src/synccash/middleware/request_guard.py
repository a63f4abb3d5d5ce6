"""What stands before the application: limits and stored answers, looked at together."""

from typing import NamedTuple, Protocol

from synccash.middleware.refusal import Refusal

Headers = tuple[tuple[bytes, bytes], ...]


class Caller(NamedTuple):
    """Who asks. `tenant` separates idempotency keys; None where nobody is known: no keys are taken then."""

    ip: str
    tenant: str | None = None
    api_key: str | None = None
    user: str | None = None


class Asked(NamedTuple):
    """One request at the door. `answer_name` is set where a stored answer may be there."""

    endpoint: str
    caller: Caller
    answer_name: str | None = None


class Admitted(NamedTuple):
    """What the door says. `refusal` ends the request; `stored` is its answer; `headers` go on any answer."""

    refusal: Refusal | None = None
    stored: bytes | None = None
    headers: Headers = ()


class Door(Protocol):
    """Counts limits and keeps answers, quickly and forgetfully: nothing is decided from what it forgot."""

    async def admit(self, asked: Asked) -> Admitted:
        """Decide about all limits and look for the stored answer, in one round trip. Never raises."""
        ...

    def keep(self, answer_name: str, stored: bytes) -> None:
        """Store an answer in the background. Never raises."""
        ...
