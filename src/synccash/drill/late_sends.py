"""Finds sends of an order that were committed after money was known to have moved for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KNOWN_MONEY = ("contradiction", "amount_differs")
"""Kinds of timeline entries that report money that moved otherwise than the order expected."""
_SENDS = ("sent_again", "otp_submitted")


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of an order's timeline."""

    kind: str
    data: Mapping[str, Any]


def late_sends(timeline: Sequence[TimelineEntry]) -> list[str]:
    """Return the kinds of the sends that were committed after the first entry of known money.

    The order of the entries decides, not a clock: the commits of one order follow each other. A re-send, an
    OTP and a new attempt are each committed before their first byte leaves.
    """
    first = next((n for n, entry in enumerate(timeline) if _is_known_money(entry)), len(timeline))
    return [name for entry in timeline[first + 1 :] if (name := _send(entry)) is not None]


def _is_known_money(entry: TimelineEntry) -> bool:
    return entry.kind in KNOWN_MONEY or (
        entry.kind == "inquired" and entry.data.get("standing") == "succeeded"
    )


def _send(entry: TimelineEntry) -> str | None:
    if entry.kind in _SENDS:
        return entry.kind
    return "failover" if entry.kind == "routed" and entry.data.get("chosen") else None
