"""Publishes an event when a rail degrades or recovers: one event for all processes together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.ports import Dispatch, Rail
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.health import HealthState, HealthStatus
from synccash.payments.ports import Clock, Identities
from synccash.payments.rail import Operation

log = structlog.get_logger("synccash.rails")
_LOOK_S = 1.0
_LATE_S = 0.5


class RailStatusStore(Protocol):
    """Stores the published status of each rail and operation, shared by all processes."""

    async def all(self) -> Mapping[tuple[str, str], HealthStatus]: ...
    async def change(
        self, rail: str, operation: str, status: HealthStatus, document: Mapping[str, Any], event_id: str
    ) -> bool: ...


@dataclass(slots=True)
class RailWatch:
    """Computes the public status of the rails in a loop, and stores its changes. Every process may run one.

    All processes use the stored status, and change it only after `hold_s` seconds of contrary samples of
    their own. A process without samples of a rail cannot declare it recovered.
    """

    rails: Mapping[str, Rail]
    health: RailHealth
    dispatch: Dispatch
    status_store: RailStatusStore
    clock: Clock
    identities: Identities
    _states: dict[tuple[str, Operation], HealthState] = field(
        default_factory=dict[tuple[str, Operation], HealthState]
    )

    async def run(self) -> None:
        """Check all rails every second until cancelled. Retries while the store is unavailable."""
        while True:
            await self.round()

    async def round(self) -> None:
        """Wait, then check once. Skips the check when this process itself was delayed, since every rail would
        then seem slow."""
        began = self.clock.monotonic()
        await self.clock.sleep(_LOOK_S)
        if self.clock.monotonic() - began > _LOOK_S + _LATE_S:
            self._states.clear()
            return
        try:
            await self.look()
        except StoreUnavailableError as error:
            log.debug("rail_statuses_unavailable", reason=str(error))
        except Exception:
            log.exception("rail_watch_failed")

    async def look(self) -> None:
        """Check every rail and operation once, and publish changes of status."""
        kept = await self.status_store.all()
        for name, rail in self.rails.items():
            for operation in rail.capabilities.operations:
                status = kept.get((name, operation.value), HealthStatus.HEALTHY)
                await self._look_at(rail, operation, status)

    async def _look_at(self, rail: Rail, operation: Operation, status: HealthStatus) -> None:
        key = (rail.name, operation)
        before = self._states.get(key, HealthState())
        if before.status is not status:
            before = HealthState(status)
        healths = {n: self.health.of(rail.name, n, operation) for n in sorted(rail.capabilities.networks)}
        worst = min(healths.values(), key=lambda one: one.public)
        open_for_s = self.dispatch.open_for_s(rail.name, operation)
        after = before.after(
            worst.public,
            self.clock.monotonic(),
            self.health.settings,
            is_open=open_for_s is not None,
            known=max(one.weight for one in healths.values()) >= 1.0,
        )
        self._states[key] = after
        if after.status is status:
            return
        document = {
            "id": f"{rail.name}:{operation.value}",
            "object": "rail",
            "rail": rail.name,
            "operation": operation.value,
            "status": after.status.value,
            "reason": "breaker_open" if open_for_s is not None else "health",
            "networks": {network.value: round(one.public, 3) for network, one in healths.items()},
        }
        changed = await self.status_store.change(
            rail.name, operation.value, after.status, document, self.identities.new("evt")
        )
        if changed:
            log.warning(
                "rail_degraded" if after.status is HealthStatus.DEGRADED else "rail_recovered",
                rail=rail.name,
                operation=operation.value,
                networks=document["networks"],
                reason=document["reason"],
            )
