"""Parses amounts, times and references in the notations of statements."""

import re
from datetime import UTC, datetime, tzinfo
from uuid import UUID

_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+", re.ASCII)
_PLAIN = re.compile(r"([0-9]{1,15})(?:\.([0-9]*))?", re.ASCII)
_CURRENCY = re.compile(r"^(?:ghs|gh₵|gh¢|₵|¢|eur|€)\s*|\s*(?:ghs|eur)$", re.IGNORECASE)
_DAY_FIRST = ("%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y")
_YEAR_FIRST = ("%Y-%m-%d", "%Y/%m/%d")
_HOURS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f")
_FORMATS = tuple(day + hour for day in (*_YEAR_FIRST, *_DAY_FIRST) for hour in _HOURS)


def amount(text: str, *, minor_units: bool = False) -> int:
    """Parses an amount into minor units, exactly. A minus sign or brackets make it negative.

    Accepts 1,234.50 and 1.234,50 and GHS 25; a comma before three digits separates thousands. Raises
    ValueError.
    """
    bare = _CURRENCY.sub("", text.strip().replace("\u2212", "-"))
    negative = bare.startswith("-") or bare.endswith("-") or (bare.startswith("(") and bare.endswith(")"))
    bare = (
        _CURRENCY.sub("", bare.strip("-+()").strip()).replace(" ", "").replace("\u00a0", "").replace("'", "")
    )
    match = _PLAIN.fullmatch(_with_point(bare))
    if match is None:
        raise ValueError(f"{text.strip()[:40]!r} is not an amount")
    whole, decimals = match[1], match[2] or ""
    if decimals[2:].strip("0") or (minor_units and decimals.strip("0")):
        raise ValueError(f"{text.strip()[:40]!r} is finer than a pesewa")
    minor = int(whole) if minor_units else int(whole) * 100 + int(decimals[:2].ljust(2, "0"))
    return -minor if negative else minor


def _with_point(text: str) -> str:
    if "," not in text:
        return text
    if "." in text:
        thousands, point = (",", ".") if text.rindex(".") > text.rindex(",") else (".", ",")
        return text.replace(thousands, "").replace(point, ".")
    return text.replace(",", "") if _GROUPED.fullmatch(text) else text.replace(",", ".")


class Times:
    """Parses the times of one file. Tries the last matching format first, since most rows share one."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._last = _FORMATS[0]

    def read(self, text: str) -> datetime | None:
        """Returns a time in UTC, or None if the text is not a time.

        A time without an offset is in the file's zone. Days come before months.
        """
        bare = " ".join(text.replace(",", " ").split())
        found = _iso(bare) or self._by_format(bare)
        if found is None:
            return None
        return (found if found.tzinfo else found.replace(tzinfo=self._zone)).astimezone(UTC)

    def _by_format(self, text: str) -> datetime | None:
        for form in (self._last, *_FORMATS) if text else ():
            try:
                found = datetime.strptime(text, form)  # noqa: DTZ007 - its zone is the file's
            except ValueError:
                continue
            self._last = form
            return found
        return None


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{text[:-4]}+00:00" if text.endswith(" UTC") else text)
    except ValueError:
        return None


def reference(text: str) -> str | None:
    """Returns a reference in the form of our attempts: a UUID is written with hyphens."""
    bare = text.strip().strip("'\"").removeprefix("=").strip("'\"").strip()
    if not bare or bare == "-":
        return None
    try:
        return str(UUID(bare))
    except ValueError:
        return bare
