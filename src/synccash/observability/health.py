"""How the parts of this process stand, for load balancers and for people."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from synccash.engine.ports import AccountRail, Dispatch
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.recovery import Recovery
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.recovery import Durability

UNCONFIRMED = "unconfirmed"
_PATIENCE_S = 2.0
# It is on at a standby too, and where a failover has set `default_transaction_read_only`.
_TAKES_WRITES = "SELECT NOT current_setting('transaction_read_only')::boolean"
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """Asks each part, briefly. `ping` asks Valkey; None where the service runs without one. `warned`: what an
    operator has to be told, by part."""

    pool: Pool
    ping: Callable[[], Awaitable[bool]] | None
    rails_set_up: Mapping[str, AccountRail]
    dispatch: Dispatch
    recovery: Callable[[], Recovery]
    durability_of: Callable[[], Awaitable[Durability]]
    warned: Callable[[], Sequence[tuple[str, str]]] = tuple

    async def database(self) -> bool:
        """True when PostgreSQL answers a query and takes writes."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if await self.pool.fetchval(_TAKES_WRITES):
                    return True
                # A process that is not ready gets no requests, so no refused write would replace the pool's
                # connections to the former primary: the check does.
                await self.pool.expire_connections()
        except _AWAY:
            pass
        return False

    async def valkey(self) -> bool:
        """True when Valkey answers, or is not asked for."""
        return self.ping is None or await self.ping()

    def sends_held(self) -> bool:
        """True while a recovery is under way, and nothing is sent."""
        return self.recovery().active

    async def durability(self) -> dict[str, Any] | None:
        """What PostgreSQL keeps of a commit, and in sentences what a failure could lose; None while it does
        not answer."""
        try:
            found = await self.durability_of()
        except StoreUnavailableError:
            return None
        return {**asdict(found), "weaknesses": found.weaknesses()}

    def rails(self) -> dict[str, str]:
        """Each rail with `ok`, `unconfirmed` where the operator has to confirm its account first, or for how
        long its breakers still refuse new payments."""
        return {name: self._standing(name, rail) for name, rail in self.rails_set_up.items()}

    def warnings(self) -> Sequence[tuple[str, str]]:
        """What works, and waits for an operator: the part of the service, and the words."""
        return self.warned()

    def _standing(self, name: str, rail: AccountRail) -> str:
        if rail.is_unconfirmed:
            return UNCONFIRMED
        shut = [
            f"{operation.value} refused for {open_for_s:.0f} s"
            for operation in rail.capabilities.operations
            if (open_for_s := self.dispatch.open_for_s(name, operation)) is not None
        ]
        return ", ".join(shut) or "ok"
