"""Reads the float of all rails that report it, again and again."""

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
    """Live: one loop of one process. `read` asks under the policy of a rail's inquiries and never raises."""

    rails: Mapping[str, Rail]
    floats: RailFloats
    read: Callable[[FloatRail], Awaitable[FloatAnswer]]
    clock: Clock
    _low: set[str] = field(default_factory=set[str])

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.look()
            await self.clock.sleep(self.floats.poll_s)

    async def look(self) -> None:
        """Read once at every rail that pays out and reports its float."""
        for rail in self._reporting():
            # What is sent while the answer is on its way may be in it or not: counted twice, it only waits.
            self.floats.reading_began(rail.name)
            began = self.clock.monotonic()
            answer = await self.read(rail)
            if answer.available is None:
                self.floats.failed(rail.name, answer.provider_code or "no_information")
                log.debug("float_unread", rail=rail.name, reason=answer.provider_code)
                continue
            self.floats.reported(rail.name, FloatReading(answer.available, began, self.clock.now()))
            self._tell(rail.name)

    def shown(self) -> list[dict[str, Any]]:
        """What is known of every rail that pays out; `is_reported` says whether it can be asked."""
        reporting = {rail.name for rail in self._reporting()}
        paying = (n for n, rail in self.rails.items() if Operation.PAYOUT in rail.capabilities.operations)
        return [{**self.floats.shown(name), "is_reported": name in reporting} for name in paying]

    def _reporting(self) -> list[FloatRail]:
        return [
            rail
            for rail in self.rails.values()
            if isinstance(rail, FloatRail) and Operation.PAYOUT in rail.capabilities.operations
        ]

    def _tell(self, rail: str) -> None:
        """Log once that a float has fallen below its alarm level, and that it has recovered."""
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
