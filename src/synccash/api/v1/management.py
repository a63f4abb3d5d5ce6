"""The ports of the operator's calls under `/resilience`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from litestar.params import QueryParameter

from synccash.api.body import optional_body
from synccash.api.calls import AnyRequest
from synccash.api.problem import invalid
from synccash.api.schemas import ReasonBody
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.rate_limiter import Decision, Demand, Limit


class Breakers(Protocol):
    """The circuit breakers of all processes."""

    async def all(self) -> Sequence[dict[str, Any]]: ...
    async def one(self, name: str) -> dict[str, Any] | None: ...
    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...
    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...


class Limits(Protocol):
    """The rate limiter, as far as the operator may read and change it."""

    async def peek(self, demands: Sequence[Demand]) -> Decision: ...

    async def block(self, limit: Limit, id: str, duration_s: float) -> bool:  # noqa: A002 - the field's word
        """Block a key. False when the block is in force in this process only."""
        ...

    async def unblock(self, limit: Limit, id: str) -> bool:  # noqa: A002
        """Remove a key's block, violations and use. False when that is in force in this process only."""
        ...


class Claims(Protocol):
    """Statistics of the idempotency claims of a time window."""

    async def statistics(self, *, window_s: float) -> Any: ...


class Audit(Protocol):
    """The audit log: every manual action is written to it before it is done."""

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None: ...


class Tenants(Protocol):
    """All merchants in both modes, by the names that user limits have for them."""

    async def tenants(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The parts that the operator's calls use. `counted` returns the idempotency counts of this process,
    `floats` the known float of each rail that pays out."""

    breakers: Breakers
    limits: Limits
    book: ConfiguredLimits
    claims: Claims
    audit: Audit
    tenants: Tenants
    counted: Callable[[], dict[str, int]]
    floats: Callable[[], list[dict[str, Any]]]


ReasonParameter = Annotated[
    str | None,
    QueryParameter(max_length=500, description='For the audit log; a body {"reason": …} does the same'),
]


async def reason_of(request: AnyRequest, text: str | None) -> str:
    """Return the optional reason of an operator: from the body `{"reason": …}`, else the query, else "".

    Raises ProblemError 400, 415 or 422.
    """
    if text is not None and not text.isprintable():
        raise invalid(("reason", "expected printable characters"))
    body = await optional_body(request, ReasonBody)
    return (None if body is None else body.reason) or text or ""
