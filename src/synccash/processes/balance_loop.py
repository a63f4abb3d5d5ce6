"""Folds the entries of balances into their checkpoints, and knows which credits nobody has confirmed yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.stores.postgres.balances import UnconfirmedCredit

log = structlog.get_logger("synccash.balances")

FOLD_S = 5.0
"""Pause between two folds, in seconds: a balance is read from its checkpoint and the entries of about two."""


class Balances(Protocol):
    """What is done to the balances in the background."""

    async def fold(self) -> None: ...
    async def set_fees(self, fees: Mapping[tuple[str, str], int]) -> None: ...
    async def unconfirmed(self) -> Sequence[UnconfirmedCredit]: ...


@dataclass(slots=True)
class BalanceLoop:
    """Live: one loop of one process. Any number of processes may run it: one folds at a time.

    `unconfirmed` is what it last saw. `fees` are written once, before the first fold.
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
        """Fold once. PostgreSQL out of reach is waited for."""
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
        """What an operator has to do about balances: the part of the service, and the words."""
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
