"""Formats that several rails share: amounts, times, UUIDs and transaction ids."""

from datetime import UTC, datetime
from uuid import UUID


def major_units(minor: int) -> str:
    """Return an amount in minor units as a decimal number of major units, such as `25.05`."""
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02d}"


def utc_time(at: float, timespec: str = "auto") -> str:
    """Return Unix seconds as an ISO 8601 time that ends in Z. `timespec`: see `datetime.isoformat`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def uuid4_text(value: object) -> str | None:
    """Return a UUID of version 4 in lower case; None for any other value or form."""
    try:
        parsed = UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
    is_one = parsed is not None and parsed.version == 4 and str(parsed) == str(value).lower()
    return str(parsed) if is_one else None


def network_transaction_id(reference: str) -> str:
    """Return the ten-digit transaction id of the mobile-money network for an order with this UUID."""
    return str(UUID(reference).int % 9_000_000_000 + 1_000_000_000)
