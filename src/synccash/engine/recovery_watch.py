"""Polls whether a database recovery is under way; during one, this process opens no order with an attempt."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from synccash.engine.acknowledged_commits import AcknowledgedCommits
from synccash.engine.ports import OrderStore
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.payments.recovery import NO_RECOVERY, Recovery

log = structlog.get_logger("synccash.recovery")

LOOK_EVERY_S = 1.0
_NAMED_IN_LOG = 50


class Witnesses(Protocol):
    """Collects what the processes know of a failover. Every method raises StoreUnavailableError."""

    async def beat(self, process: str, *, is_first: bool) -> None:
        """Record that the process runs. Does nothing to its record while a recovery is under way."""
        ...

    async def missing(self, commits: Sequence[tuple[str, int]]) -> Sequence[str]:
        """Return the ids of the orders of which the store lacks the commit with this version."""
        ...

    async def vouch(self, process: str, recovery: str) -> None:
        """Record that the store has all commits that were acknowledged to the process."""
        ...

    async def confirm(self, recovery: str) -> bool:
        """End the recovery of this name if all processes prove that no commit is lost; return whether it was
        ended."""
        ...

    async def leave(self, process: str) -> None:
        """Record that the process commits nothing more."""
        ...


@dataclass(slots=True)
class FailoverWitness:
    """What this process tells about a failover. `process` is its name, unique to this run.

    `lost`: orders of which the store lacks a commit that it had acknowledged to this process.
    """

    witnesses: Witnesses
    process: str
    acknowledged: AcknowledgedCommits
    lost: Sequence[str] = ()
    _is_known: bool = field(default=False, init=False)
    _examined: str | None = field(default=None, init=False)

    async def give(self, recovery: Recovery) -> None:
        """Record that this process runs; in a recovery, whether it misses a commit. Ends the recovery when
        nobody does."""
        await self.witnesses.beat(self.process, is_first=not self._is_known)
        self._is_known = True
        if not recovery.active:
            return
        if self._examined != recovery.name:
            self.lost = await self.witnesses.missing(self.acknowledged.latest())
            if self.lost:
                log.error(
                    "acknowledged_commits_lost",
                    recovery=recovery.name,
                    count=len(self.lost),
                    order_ids=self.lost[:_NAMED_IN_LOG],
                    detail="The new server lacks commits of these orders. Sends stay held: see Restoring a "
                    "backup in docs/operating.md",
                )
            else:
                await self.witnesses.vouch(self.process, recovery.name)
            self._examined = recovery.name
        if not self.lost:
            await self.witnesses.confirm(recovery.name)

    async def end(self) -> None:
        """Record that this process commits nothing more."""
        try:
            await self.witnesses.leave(self.process)
        except StoreUnavailableError as error:
            # Its record stays, so a failover in the next minute needs an operator.
            log.warning("witness_stays", reason=str(error))


@dataclass(slots=True)
class RecoveryWatch:
    """Reads the recovery state in a loop. It only avoids wasted work: during a recovery the store itself
    refuses every commit that precedes a send. `failover_witness`: what this process tells about a failover;
    None where the store knows no other server."""

    order_store: OrderStore
    clock: Clock
    failover_witness: FailoverWitness | None = None
    known: Recovery = NO_RECOVERY

    def sends_held(self) -> None:
        """Note that the store refused an opening because a recovery is under way."""
        self.known = replace(self.known, active=True)

    async def run(self) -> None:
        """Poll every second until cancelled."""
        while True:
            await self.look()
            await self.clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Poll once. While the store is unavailable, the last known state stays."""
        try:
            self.known = await self.order_store.recovery()
            if self.failover_witness is not None:
                await self.failover_witness.give(self.known)
        except StoreUnavailableError:
            return

    async def end(self) -> None:
        """Take leave of the other processes."""
        if self.failover_witness is not None:
            await self.failover_witness.end()
