"""What the operator's calls under `/resilience` reach."""

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
    """The breakers of the whole cluster."""

    async def all(self) -> Sequence[dict[str, Any]]: ...
    async def one(self, name: str) -> dict[str, Any] | None: ...
    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...
    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...


class Limits(Protocol):
    """What of the limiter the operator may see and move."""

    async def peek(self, demands: Sequence[Demand]) -> Decision: ...

    async def block(self, limit: Limit, id: str, duration_s: float) -> bool:  # noqa: A002 - the field's word
        """Shut a key out. False: only this process could be told."""
        ...

    async def unblock(self, limit: Limit, id: str) -> bool:  # noqa: A002
        """Forget a key's block, record and use. False: only this process could be told."""
        ...


class Claims(Protocol):
    """What the claims of a window of time have come to."""

    async def statistics(self, *, window_s: float) -> Any: ...


class Audit(Protocol):
    """Where every manual action is noted before it is done."""

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None: ...


class Tenants(Protocol):
    """All merchants in both modes, as the limits of users name them."""

    async def tenants(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """What the operator's calls reach. `counted` gives what idempotency came to in this process, `floats`
    what it knows of the float of each rail that pays out."""

    breakers: Breakers
    limits: Limits
    book: ConfiguredLimits
    claims: Claims
    audit: Audit
    tenants: Tenants
    counted: Callable[[], dict[str, int]]
    floats: Callable[[], list[dict[str, Any]]]


Why = Annotated[
    str | None,
    QueryParameter(max_length=500, description='For the audit log; a body {"reason": …} says it too'),
]


async def reason_of(request: AnyRequest, text: str | None) -> str:
    """Why an operator acts, where he need not say: from the body `{"reason": …}`, else the query, else "".

    Raises ProblemError 400, 415 or 422.
    """
    if text is not None and not text.isprintable():
        raise invalid(("reason", "expected printable characters"))
    body = await optional_body(request, ReasonBody)
    return (None if body is None else body.reason) or text or ""
