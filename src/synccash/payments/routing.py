"""Which rail takes a payment, and why. Pure: what is known of each rail comes in as a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Operation


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rail as it stands now. `open_for_s`: how long its breaker still refuses; None = it lets calls in."""

    rail: str
    capabilities: Capabilities
    open_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The decision. `chosen` is None with `wait_s` where every able rail is shut out for now, and None
    without it where no rail can ever take this payment."""

    chosen: str | None
    considered: tuple[dict[str, Any], ...]
    reason: str
    wait_s: float | None = None

    def explained(self) -> dict[str, Any]:
        """The decision as it is kept on the payment."""
        return {"chosen": self.chosen, "considered": list(self.considered), "reason": self.reason}


def choose(
    candidates: Sequence[Candidate],
    *,
    network: Network | None,
    pinned: str | None = None,
    spent: frozenset[str] = frozenset(),
    operation: Operation = Operation.COLLECT,
) -> Route:
    """Pick the first candidate that serves the network and lets calls in, in the order given.

    `pinned` leaves only that rail; `spent` are rails whose attempt at this payment is dead already.
    """
    considered: list[dict[str, Any]] = []
    chosen: str | None = None
    waits: list[float] = []
    for candidate in candidates:
        skipped = _why_not(candidate, network, pinned, spent, operation)
        if skipped is None and candidate.open_for_s is not None:
            skipped = "breaker_open"
            waits.append(candidate.open_for_s)
        entry: dict[str, Any] = {"rail": candidate.rail, "score": 0.0 if skipped else 1.0}
        if skipped:
            entry["skipped"] = skipped
        considered.append(entry)
        if skipped is None and chosen is None:
            chosen = candidate.rail
    if chosen is not None:
        return Route(chosen, tuple(considered), "pinned" if pinned else "first_able")
    wait_s = min(waits) if waits else None
    return Route(None, tuple(considered), "all_breakers_open" if waits else "no_able_rail", wait_s)


def _why_not(
    candidate: Candidate,
    network: Network | None,
    pinned: str | None,
    spent: frozenset[str],
    operation: Operation,
) -> str | None:
    if pinned is not None and candidate.rail != pinned:
        return "another_rail_pinned"
    if candidate.rail in spent:
        return "already_tried"
    if operation not in candidate.capabilities.operations:
        return f"cannot_{operation.value}"
    if network is not None and network not in candidate.capabilities.networks:
        return "network_not_served"
    return None
