"""Keeps a copy of the rail accounts recorded in PostgreSQL: which credentials belong to the same business."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog

from synccash.engine.ports import Rail
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.payments.rail import Environment, RailAccount, RecordedAccount

log = structlog.get_logger("synccash.rails")
_REFRESH_S = 5.0
_RETRY_S = 0.5
_UNKNOWN = ""


class AccountStore(Protocol):
    """Records the identities of rail accounts. Every method raises StoreUnavailableError."""

    async def register(self, account: RailAccount, environment: Environment) -> None:
        """Record the identity unless it is known. The first of its label and environment is confirmed."""
        ...

    async def recorded(self) -> Sequence[RecordedAccount]:
        """Return all identities in the order in which they were recorded."""
        ...


class StoredAccountBook:
    """Holds the stored accounts of the rails in memory. Implements `engine.ports.AccountBook`.

    Until the rows have been read no account is confirmed, so no new attempt is sent.
    """

    def __init__(self, store: AccountStore, rails: Iterable[Rail], clock: Clock) -> None:
        self._store = store
        self._rails = tuple(rails)
        self._clock = clock
        self._recorded: dict[tuple[str, str], RecordedAccount] = {}
        self._first: dict[tuple[str, str], str] = {}
        self._reading = asyncio.Lock()
        self._reads = 0
        self._reported: frozenset[str] = frozenset()

    def is_confirmed(self, account: RailAccount, environment: Environment) -> bool:
        """True when the account's identity is confirmed for its label, in this environment."""
        if account.identity is None:
            return True
        found = self._recorded.get((account.rail, account.identity))
        if found is None or not found.confirmed:
            return False
        return found.label == account.account and found.environment is environment

    def are_one_business(self, one: RailAccount, other: RailAccount, environment: Environment) -> bool:
        """True when both identities are confirmed for the same label, in this environment."""
        same_label = (one.rail, one.account) == (other.rail, other.account)
        return same_label and self.is_confirmed(one, environment) and self.is_confirmed(other, environment)

    def first_identity(self, account: RailAccount) -> str | None:
        """The first identity recorded under the account's label; an empty one, which no account has, when
        none is known."""
        return self._first.get((account.rail, account.account), _UNKNOWN)

    async def refresh(self) -> None:
        """Record the present accounts and read all rows again. Concurrent callers share one read."""
        asked_at = self._reads
        async with self._reading:
            if self._reads > asked_at:
                return
            self._reads += 1
            try:
                await self._read()
            except StoreUnavailableError as error:
                log.debug("rail_accounts_unavailable", reason=str(error))
            except Exception:
                log.exception("rail_accounts_unreadable")

    async def _read(self) -> None:
        for rail in self._rails:
            identity = rail.account.identity
            if identity is not None and (rail.name, identity) not in self._recorded:
                await self._store.register(rail.account, rail.environment)
        recorded = await self._store.recorded()
        first: dict[tuple[str, str], str] = {}
        for one in recorded:
            first.setdefault((one.rail, one.label), one.identity)
        self._recorded = {(one.rail, one.identity): one for one in recorded}
        self._first = first
        self._log_unconfirmed()

    def _log_unconfirmed(self) -> None:
        """Log each rail whose account is not confirmed, once."""
        held = {rail.name for rail in self._rails if not self.is_confirmed(rail.account, rail.environment)}
        for rail in self._rails:
            if rail.name in held - self._reported:
                log.warning(
                    "rail_account_unconfirmed",
                    rail=rail.name,
                    label=rail.account.account,
                    identity=rail.account.identity,
                    todo=f"synccash rails confirm {rail.name}",
                )
        self._reported = frozenset(held)

    def contradictions(self) -> Sequence[str]:
        """Return the conflicts between the settings and the recorded accounts, each with its remedy."""
        return [text for rail in self._rails if (text := self._contradiction(rail)) is not None]

    def _contradiction(self, rail: Rail) -> str | None:
        account, environment = rail.account, rail.environment
        found = self._recorded.get((account.rail, account.identity or _UNKNOWN))
        if found is None:
            return None
        if found.label != account.account:
            return (
                f"{rail.name}: these credentials are recorded under the label {found.label}, but the "
                f"settings give them the label {account.account}; an account has only one label: "
                f"set {rail.name}_account to {found.label}"
            )
        if found.environment is not environment:
            return (
                f"{rail.name}_environment is {environment.value}, but these credentials are recorded as "
                f"{found.environment.value}: set it to {found.environment.value}; if the record is wrong, "
                f"`synccash rails confirm {rail.name}` corrects it"
            )
        return None

    async def run(self) -> None:
        """Read the rows periodically until cancelled, to see confirmations and keys of other processes."""
        while True:
            await self._clock.sleep(_REFRESH_S if self._first else _RETRY_S)
            await self.refresh()
