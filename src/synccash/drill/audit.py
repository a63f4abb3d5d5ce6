"""Holds every payment against the rails' own books."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FINAL = ("succeeded", "failed", "canceled")
_WITHOUT_DEDUP = ("hubtel",)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the audit came to; the first four lists hold ids of payments, or references without one.

    `parked`: nothing was debited, and the rail has no way to find that out: a human's, and no fault.
    """

    duplicates: tuple[str, ...]
    lost: tuple[str, ...]
    stuck: tuple[str, ...]
    parked: tuple[str, ...]
    statuses: Mapping[str, int]
    rails: Mapping[str, int]
    debits: int

    @property
    def clean(self) -> bool:
        """True when nobody paid twice, no money is unaccounted for, and nothing hangs."""
        return not (self.duplicates or self.lost or self.stuck)


def audited(
    acknowledged: Mapping[str, str], payments: Sequence[Mapping[str, Any]], books: Sequence[Mapping[str, Any]]
) -> Findings:
    """Compare. `acknowledged`: the id that a merchant was given, by his reference."""
    debits = Counter(_plain(entry["reference"]) for book in books for entry in book["debits"])
    returned = Counter(_plain(entry["reference"]) for book in books for entry in book["credits"])
    total = sum(debits.values())
    by_id = {payment["id"]: payment for payment in payments}
    duplicates: list[str] = []
    lost = [name for name in acknowledged.values() if name not in by_id]
    stuck: list[str] = []
    parked: list[str] = []
    for name, payment in by_id.items():
        taken = sum(debits.pop(_plain(attempt["reference"]), 0) for attempt in payment["attempts"])
        if taken > 1:
            duplicates.append(name)
        ended = payment["status"] in FINAL
        if ended and (payment["status"] == "succeeded") is not (taken == 1):
            lost.append(name)
        elif not ended and taken == 0 and payment["rail"] in _WITHOUT_DEDUP:
            parked.append(name)
        elif not ended:
            stuck.append(name)
    lost.extend(debits)
    lost.extend(returned)
    return Findings(
        duplicates=tuple(duplicates),
        lost=tuple(lost),
        stuck=tuple(stuck),
        parked=tuple(parked),
        statuses=Counter(payment["status"] for payment in payments),
        rails=Counter(payment["rail"] or "none" for payment in payments),
        debits=total,
    )


def _plain(reference: str) -> str:
    return reference.replace("-", "")
