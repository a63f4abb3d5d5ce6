"""The system clock and the generator of random ids. All other code receives these as arguments."""

import asyncio
import os
import secrets
import time
from datetime import UTC, datetime

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _CROCKFORD for second in _CROCKFORD)


class SystemClock:
    """Satisfies Clock with the machine's clocks."""

    def now(self) -> datetime:
        """Wall time, in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Seconds that never go backwards."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


class SystemIdentities:
    """Satisfies Identities with the operating system's randomness."""

    def new(self, prefix: str) -> str:
        """Return `prefix_` and a ULID: 48 bits of milliseconds, 80 random bits, so ids sort by time."""
        number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
        return f"{prefix}_" + "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])

    def token(self) -> str:
        """Return 256 random bits for a URL path."""
        return secrets.token_urlsafe(32)
