"""The system clock and the generator of random ids. All other code receives these as arguments."""

import asyncio
import os
import secrets
import time
from datetime import UTC, datetime

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM = bytes.maketrans(bytes(range(256)), _CROCKFORD.encode() * 8)
"""Turns a random byte into a character: each of the 32 stands for 8 bytes, so all are equally likely."""


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

    __slots__ = ("_milliseconds", "_time")

    def __init__(self) -> None:
        self._milliseconds, self._time = -1, ""

    def new(self, prefix: str) -> str:
        """Return `prefix_` and a ULID: 48 bits of milliseconds, 80 random bits, so ids sort by time."""
        now = time.time_ns() // 1_000_000
        if now != self._milliseconds:
            self._time = "".join([_CROCKFORD[now >> shift & 31] for shift in range(45, -1, -5)])
            self._milliseconds = now
        return f"{prefix}_{self._time}{os.urandom(16).translate(_RANDOM).decode()}"

    def token(self) -> str:
        """Return 256 random bits for a URL path."""
        return secrets.token_urlsafe(32)
