"""Polls the float of every rail that reports one."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from synccash.engine.dispatch.rail_float import FloatReading, RailFloats
from synccash.engine.ports import FloatRail, Rail
from synccash.payments.ports import Clock
from synccash.payments.rail import FloatAnswer, Operation

log = structlog.get_logger("synccash.rails")


@dataclass(slots=True)
class FloatWatch:
    """Polls the rails' floats in a loop. `read` asks a rail under its inquiry policy and never raises."""

    rails: Mapping[str, Rail]
    floats: RailFloats
    read: Callable[[FloatRail], Awaitable[FloatAnswer]]
    clock: Clock
    _low: set[str] = field(default_factory=set[str])

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.look()
            await self.clock.sleep(self.floats.poll_s)

    async def look(self) -> None:
        """Read once the float of every rail that pays out and reports it."""
        for rail in self._reporting():
            # The answer may or may not include what is sent while it is under way. Counting that twice is
            # safe: it only makes a payout wait.
            self.floats.reading_began(rail.name)
            began = self.clock.monotonic()
            answer = await self.read(rail)
            if answer.available is None:
                self.floats.failed(rail.name, answer.provider_code or "no_information")
                log.debug("float_read_failed", rail=rail.name, reason=answer.provider_code)
                continue
            self.floats.reported(rail.name, FloatReading(answer.available, began, self.clock.now()))
            self._log_level_change(rail.name)

    def shown(self) -> list[dict[str, Any]]:
        """Return the known float of every rail that pays out; `is_reported`: whether the rail reports it."""
        reporting = {rail.name for rail in self._reporting()}
        paying = (n for n, rail in self.rails.items() if Operation.PAYOUT in rail.capabilities.operations)
        return [{**self.floats.shown(name), "is_reported": name in reporting} for name in paying]

    def _reporting(self) -> list[FloatRail]:
        return [
            rail
            for rail in self.rails.values()
            if isinstance(rail, FloatRail) and Operation.PAYOUT in rail.capabilities.operations
        ]

    def _log_level_change(self, rail: str) -> None:
        """Log once when a float falls below its alarm level, and once when it recovers."""
        if self.floats.is_low(rail) is (rail in self._low):
            return
        shown = self.floats.shown(rail)
        facts = {name: shown[name] for name in ("float", "by_network", "alarm_below")}
        if rail in self._low:
            self._low.discard(rail)
            log.warning("rail_float_recovered", rail=rail, **facts)
        else:
            self._low.add(rail)
            log.warning("rail_float_low", rail=rail, **facts)
