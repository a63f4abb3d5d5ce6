"""Decides which account a rail may act for, so that credentials of another business touch no order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from synccash.engine.ports import AccountBook, CallbackReader, OtpRail, Rail
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import (
    NO_TRACES,
    AttemptDetails,
    CallbackNote,
    Capabilities,
    Environment,
    Operation,
    RailAccount,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.payments.routing import OTHER_MODE, UNCONFIRMED
from synccash.resilience.evidence import Evidence

OTHER_ACCOUNT = "other_account"
"""The order belongs to an account for which there are no credentials any more."""


class NoAccountBook:
    """Knows no identities: an account serves what was sent with its own identity, or with none recorded."""

    def is_confirmed(self, account: RailAccount, environment: Environment) -> bool:
        """True: nothing is held back."""
        del account, environment
        return True

    def are_one_business(self, one: RailAccount, other: RailAccount, environment: Environment) -> bool:
        """False: two identities are two businesses."""
        del one, other, environment
        return False

    def first_identity(self, account: RailAccount) -> str | None:
        """None: no identity was ever recorded."""
        del account
        return None

    async def refresh(self) -> None:
        """Nothing to read."""


class GuardedRail:
    """One rail with its present account, and with those of its former credentials that are still set up.

    Satisfies AccountRail, OtpRail and CallbackReader. Orders of the present account's business are sent and
    asked about with the present credentials. Orders of former credentials are only asked about, with these.
    All others are refused before a byte leaves, and wait for a human.
    """

    def __init__(self, connector: Rail, book: AccountBook, former: Sequence[Rail] = ()) -> None:
        self.connector = connector
        self._book = book
        self._former = tuple(former)

    @property
    def name(self) -> str:
        """The rail's id."""
        return self.connector.name

    @property
    def capabilities(self) -> Capabilities:
        """What the rail can do."""
        return self.connector.capabilities

    @property
    def account(self) -> RailAccount:
        """The account and address of new attempts."""
        return self.connector.account

    @property
    def environment(self) -> Environment:
        """Whether the present account moves real money."""
        return self.connector.environment

    @property
    def is_unconfirmed(self) -> bool:
        """True while the operator has not confirmed the present identity; nothing new is sent then."""
        return not self._book.is_confirmed(self.connector.account, self.connector.environment)

    def serves(self, account: RailAccount) -> bool:
        """True when the present credentials are of the business that `account` is of. See AccountRail."""
        present = self.connector.account
        if not _same_place(account, present):
            return False
        identity = self._identity_of(account)
        if identity in (None, present.identity):
            return True
        named = replace(account, identity=identity)
        return self._book.are_one_business(named, present, self.connector.environment)

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Send with the present credentials, where they are the order's business's and of its mode."""
        if Environment.of_mode(livemode=order.livemode) is not self.connector.environment:
            return _unsent(OTHER_MODE)
        if not await self._serves_now(order.account):
            return _unsent(self._why_not(order.account))
        return await self.connector.send(replace(order, account=self.connector.account), timeout_s=timeout_s)

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Hand a password over with the present credentials, where they are the attempt's business's."""
        rail = self.connector
        assert isinstance(rail, OtpRail), f"{rail.name} says that it takes a password and has no way to"
        if not await self._serves_now(account):
            return _unsent(self._why_not(account))
        return await rail.submit_otp(rail.account, reference, otp, timeout_s=timeout_s)

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        traces: AttemptDetails = NO_TRACES,
    ) -> StatusAnswer:
        """Ask with the present credentials, or with the former ones of the attempt's account."""
        if await self._serves_now(account):
            asked = self.connector
        else:
            found = next((former for former in self._former if self._is_of(account, former)), None)
            if found is None:
                code = self._why_not(account)
                return StatusAnswer(
                    status_at_rail=RailStatus.NO_INFORMATION, provider_code=code, refused_locally=True
                )
            asked = found
        return await asked.inquire(asked.account, operation, reference, timeout_s=timeout_s, traces=traces)

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read a callback that the present or a former account was sent. See CallbackReader."""
        for rail in (self.connector, *self._former):
            note = rail.read_callback(token, headers, body) if isinstance(rail, CallbackReader) else None
            if note is not None:
                return note
        return None

    async def _serves_now(self, account: RailAccount) -> bool:
        """The same as `serves`, after a fresh look at the rows where they were known to say no."""
        if not self.serves(account):
            await self._book.refresh()
        return self.serves(account)

    def _is_of(self, account: RailAccount, former: Rail) -> bool:
        same = self._identity_of(account) == former.account.identity
        return same and _same_place(account, former.account)

    def _identity_of(self, account: RailAccount) -> str | None:
        return account.identity or self._book.first_identity(account)

    def _why_not(self, account: RailAccount) -> str:
        awaited = self.is_unconfirmed and _same_place(account, self.connector.account)
        return UNCONFIRMED if awaited else OTHER_ACCOUNT


def _same_place(one: RailAccount, other: RailAccount) -> bool:
    return replace(one, identity=None) == replace(other, identity=None)


def _unsent(code: str) -> SendAnswer:
    """Another rail is no way out: the order belongs to that account, as a refund belongs to its debit's."""
    return SendAnswer(
        evidence=Evidence.NOT_SENT,
        failure=Failure(FailureCode.PROVIDER_ACCOUNT_BLOCKED, provider_code=code),
        provider_code=code,
        refused_locally=True,
    )
