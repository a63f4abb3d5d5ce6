"""How the parts of this process stand, for load balancers and for people."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import asyncpg

from synccash.engine.ports import Dispatch, Rail
from synccash.stores.postgres.pool import Pool

_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """Asks each part, briefly. `ping` asks Valkey; None where the service runs without one."""

    pool: Pool
    ping: Callable[[], Awaitable[bool]] | None
    rails_set_up: Mapping[str, Rail]
    dispatch: Dispatch

    async def database(self) -> bool:
        """True when PostgreSQL answers a query."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self.pool.fetchval("SELECT true") is True
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    async def valkey(self) -> bool:
        """True when Valkey answers, or is not asked for."""
        return self.ping is None or await self.ping()

    def rails(self) -> dict[str, str]:
        """Each rail with `ok`, or for how long its breakers still refuse new payments."""
        return {name: self._standing(name, rail) for name, rail in self.rails_set_up.items()}

    def _standing(self, name: str, rail: Rail) -> str:
        shut = [
            f"{operation.value} refused for {open_for_s:.0f} s"
            for operation in rail.capabilities.operations
            if (open_for_s := self.dispatch.open_for_s(name, operation)) is not None
        ]
        return ", ".join(shut) or "ok"
