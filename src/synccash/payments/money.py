"""Amounts in pesewas (1 GHS = 100 pesewas), converted to and from the decimal cedis that rails use."""

import re

AMOUNT_MAX = 10**12
"""The largest amount of one payment, in pesewas."""

_MAJOR = re.compile(r"(0|[1-9][0-9]{0,20})(?:\.([0-9]{1,2}))?", re.ASCII)


def to_major(pesewas: int) -> str:
    """Write pesewas in cedis with two decimals: 2505 -> "25.05".

    Raises ValueError for a negative amount.
    """
    if pesewas < 0:
        raise ValueError(f"an amount must not be negative: {pesewas}")
    return f"{pesewas // 100}.{pesewas % 100:02d}"


def from_major(text: str) -> int:
    """Read cedis as a rail writes them ("25", "25.5", "25.05") into pesewas, without floating point.

    Raises ValueError for anything else: signs, exponents, more than two decimals, leading zeros.
    """
    match = _MAJOR.fullmatch(text)
    if match is None:
        raise ValueError(f"not an amount in cedis with at most two decimals: {text[:40]!r}")
    cedis, decimals = match.groups()
    return int(cedis) * 100 + int((decimals or "").ljust(2, "0"))
