"""What can happen to one request of a connector, and how an order has to end after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from synccash.payments.rail import Operation


class End(StrEnum):
    """How an order ends, in its own row and in the rail's book."""

    PAID = "succeeded, and moved once"
    UNPAID = "failed, and nothing moved"
    PARKED = "a human's, and nothing moved"
    """Where nobody can say any more, and the rail takes no reference twice."""
    DISPUTED = "failed, moved once all the same, and everybody was told"
    """A collection's money has gone back by itself."""


class Late(StrEnum):
    """When the payer approves, or the money moves, after all."""

    AFTER_THE_RAIL_CALLED_IT_FAILED = "the rail called it failed"
    AFTER_THE_ORDER_EXPIRED = "the order expired"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    `step`: the sandbox's script for the request. `standing`: faults of the rail meanwhile. `known_code`: the
    rail answers 5xx with a code of its own. `safe`: how it ends where the rail executes a reference once,
    `unsafe` where it does not. `waits_s`: the distance that the rail asks for between two requests.
    `forged`: a callback lies of a success first.
    """

    step: Mapping[str, Any] = field(default_factory=dict[str, Any])
    status_at_rail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    known_code: bool = False
    late: Late | None = None
    waits_s: float | None = None
    forged: bool = False
    safe: End = End.PAID
    unsafe: End = End.PAID


FAULTS: Mapping[str, Fault] = {
    "accepted": Fault(),
    "read time-out": Fault(step={"latency_ms": 700}),
    "drop before commit": Fault(step={"answer": "drop"}, unsafe=End.PARKED),
    "drop after commit": Fault(step={"answer": "drop", "commit": True}),
    "5xx without a code": Fault(step={"answer": "http_500"}, unsafe=End.PARKED),
    "5xx without a code, committed": Fault(step={"answer": "http_500", "commit": True}),
    "5xx with a known code": Fault(known_code=True, unsafe=End.PARKED),
    "503 with a known code": Fault(step={"answer": "http_503"}, unsafe=End.PARKED),
    "HTML 403": Fault(step={"answer": "html_403"}, unsafe=End.PARKED),
    "maintenance page with HTTP 200": Fault(step={"answer": "maintenance_200"}, unsafe=End.PARKED),
    "maintenance page, committed": Fault(step={"answer": "maintenance_200", "commit": True}),
    # Not found until the settle time is over: the same reference goes out again and meets itself.
    "duplicate": Fault(step={"answer": "drop", "commit": True, "visible_after_ms": 1_200}),
    "404 right after accept": Fault(step={"visible_after_ms": 400}),
    "429 with Retry-After": Fault(step={"answer": "http_429"}, waits_s=1.0),
    "late success after the rail's expiry": Fault(
        late=Late.AFTER_THE_RAIL_CALLED_IT_FAILED, safe=End.DISPUTED, unsafe=End.DISPUTED
    ),
    "late success after the order's expiry": Fault(step={"end": "NEVER"}, late=Late.AFTER_THE_ORDER_EXPIRED),
    "double callback": Fault(status_at_rail={"callbacks": "duplicate"}),
    "early callback": Fault(status_at_rail={"callbacks": "early"}),
    "late callback": Fault(status_at_rail={"callbacks": "late"}),
    "lost callback": Fault(status_at_rail={"callbacks": "lost"}),
    "forged callback": Fault(step={"end": "NEVER"}, status_at_rail={"callbacks": "forged"}, forged=True),
}
"""The columns of the matrix beside the codes."""

NOT_OURS: Mapping[tuple[str, Operation, str], str] = {
    ("*", Operation.REFUND, "late success after the order's expiry"): "a refund does not expire",
}
"""Cells that do not exist, and why. A rail of `*` stands for all."""


def is_a_cell(rail: str, operation: Operation, fault: str) -> bool:
    """False where the cell is named in NOT_OURS."""
    return not {(rail, operation, fault), ("*", operation, fault)} & NOT_OURS.keys()
