"""Watches whether the rails' callbacks arrive, in the background, so that health runs no query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.payments.rail import CallbackAddress, Capabilities

log = structlog.get_logger("synccash.callbacks")

WATCH_S = 10.0
"""Pause between two readings, in seconds."""
ENDS = 3
"""How many successes in a row without a callback are reported: an inquiry may be faster than one callback."""


class CallingRail(Protocol):
    """A rail, as the watch reads it."""

    @property
    def capabilities(self) -> Capabilities: ...


class EndsWithoutCallback(Protocol):
    """Reads the latest successes of a rail."""

    async def without_callback(self, rail: str, ends: int) -> int:
        """Return how many of the latest `ends` recent successes had no callback. Raises
        StoreUnavailableError."""
        ...


@dataclass(slots=True)
class CallbackWatch:
    """Live: one loop of one process. Every process reads the same rows, so all of them report the same."""

    rails: Mapping[str, CallingRail]
    ends: EndsWithoutCallback
    clock: Clock
    _silent: tuple[tuple[str, int], ...] = field(default=())

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.read()
            await self.clock.sleep(WATCH_S)

    async def read(self) -> None:
        """Read once, and log each rail whose callbacks stop or come back."""
        before = {rail for rail, _ in self._silent}
        try:
            counts = [(name, await self.ends.without_callback(name, ENDS)) for name in self._calling()]
        except StoreUnavailableError as error:
            self._silent = ()
            log.debug("callbacks_not_read", reason=str(error))
            return
        except Exception:
            self._silent = ()
            log.exception("callbacks_read_failed")
            return
        self._silent = tuple((rail, count) for rail, count in counts if count >= ENDS)
        now = {rail for rail, _ in self._silent}
        for rail in sorted(now - before):
            log.warning("callbacks_missing", rail=rail, cause="callbacks_missing", ends=ENDS)
        for rail in sorted(before - now):
            log.info("callbacks_back", rail=rail)

    def silent_rails(self) -> Sequence[tuple[str, int]]:
        """Return the rails whose latest successes all came without a callback, with their number."""
        return self._silent

    def _calling(self) -> list[str]:
        return sorted(
            name
            for name, rail in self.rails.items()
            if rail.capabilities.callback_address is not CallbackAddress.NONE
        )
