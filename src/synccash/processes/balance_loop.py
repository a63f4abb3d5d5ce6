"""Folds balance entries into checkpoints, and reads which credits an operator still has to confirm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.stores.postgres.balances import UnconfirmedCredit

log = structlog.get_logger("synccash.balances")

FOLD_S = 5.0
"""Pause between two folds, in seconds. Reading a balance sums its checkpoint and the entries since then."""


class Balances(Protocol):
    """The balances, as the background loop uses them."""

    async def fold(self) -> None: ...
    async def set_fees(self, fees: Mapping[tuple[str, str], int]) -> None: ...
    async def unconfirmed(self) -> Sequence[UnconfirmedCredit]: ...


@dataclass(slots=True)
class BalanceLoop:
    """Folds settled balance entries in a loop. Any number of processes may run one: one folds at a time.

    `unconfirmed` is the latest reading. `fees` are written once, before the first fold.
    """

    balances: Balances
    clock: Clock
    fees: Mapping[tuple[str, str], int]
    unconfirmed: Sequence[UnconfirmedCredit] = ()
    _fees_set: bool = False

    async def run(self) -> None:
        """Fold until cancelled."""
        while True:
            await self.pass_once()
            await self.clock.sleep(FOLD_S)

    async def pass_once(self) -> None:
        """Fold once. While PostgreSQL is unreachable, the next pass tries again."""
        try:
            if not self._fees_set:
                await self.balances.set_fees(self.fees)
                self._fees_set = True
            await self.balances.fold()
            self.unconfirmed = await self.balances.unconfirmed()
        except StoreUnavailableError as error:
            log.debug("fold_put_off", reason=str(error))
        except Exception:
            log.exception("fold_failed")

    def warnings(self) -> Sequence[tuple[str, str]]:
        """Return what an operator has to do about balances, as (part of the service, text)."""
        if not self.unconfirmed:
            return ()
        first, more = self.unconfirmed[0], len(self.unconfirmed) - 1
        merchant_id, mode = first.account.merchant_id, "live" if first.account.livemode else "test"
        others = f" (and {more} more)" if more else ""
        told = (
            f"{merchant_id} pays out in {mode} mode on a credit that an upgrade granted{others}. Confirm it: "
        )
        command = f"synccash balances confirm {merchant_id} --{mode} --credit AMOUNT --reason TEXT"
        return (("balances", told + command),)
