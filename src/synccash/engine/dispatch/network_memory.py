"""Shares proven payer networks between processes: stores those of this one and reads those of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.payer import Network
from synccash.payments.payer_networks import MOST, PayerNetworks, ProvenNetwork
from synccash.payments.ports import Clock

log = structlog.get_logger("synccash.networks")

_SYNC_S = 2.0
_OVERLAP_S = 10.0
"""Each read overlaps the last by this much: a row may become visible later than its time says."""
_SWEEP_S = 60.0
_SWEPT = 1_000


class NetworkStore(Protocol):
    """Stores proven networks beyond the life of a process."""

    async def secret(self) -> bytes: ...
    async def since(self, at: float, *, limit: int) -> Mapping[bytes, ProvenNetwork]: ...
    async def write(self, proven: Mapping[bytes, Network]) -> None: ...
    async def remove(self, payers: Sequence[bytes]) -> None: ...
    async def sweep(self, *, older_than_s: float, limit: int) -> int: ...


@dataclass(slots=True)
class NetworkMemory:
    """Synchronises `networks` with the store in a loop: writes the changes of this process and reads those of
    the others. Changes that are lost when a process dies are learned again."""

    networks: PayerNetworks
    store: NetworkStore
    clock: Clock
    _read_until: float = 0.0
    _swept_at: float = float("-inf")

    async def run(self) -> None:
        """Synchronise until cancelled. Retries while the store is unavailable."""
        while True:
            try:
                await self.sync()
            except StoreUnavailableError as error:
                log.debug("networks_unavailable", reason=str(error))
            except Exception:
                log.exception("network_sync_failed")
            await self.clock.sleep(_SYNC_S)

    async def sync(self) -> None:
        """Write and read once."""
        if self.networks.retention_s <= 0:
            return
        if self.networks.secret is None:
            self.networks.secret = await self.store.secret()
        changes = self.networks.take_changes()
        if proven := {payer: network for payer, network in changes.items() if network is not None}:
            await self.store.write(proven)
        if disproven := [payer for payer, network in changes.items() if network is None]:
            await self.store.remove(disproven)
        found = await self.store.since(self._read_until - _OVERLAP_S, limit=MOST)
        self.networks.load_stored(found)
        self._read_until = max((one.at for one in found.values()), default=self._read_until)
        if self.clock.monotonic() - self._swept_at >= _SWEEP_S:
            self._swept_at = self.clock.monotonic()
            await self.store.sweep(older_than_s=self.networks.retention_s, limit=_SWEPT)
