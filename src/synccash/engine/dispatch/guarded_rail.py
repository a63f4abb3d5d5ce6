"""Guards rail accounts: an order is sent or inquired about only with credentials of its own business."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from synccash.engine.ports import AccountBook, AccountCallbackRail, CallbackReader, OtpRail, Rail
from synccash.payments.errors import InternalError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
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
"""Code: the order belongs to an account whose credentials are no longer configured."""


class NoAccountBook:
    """Knows no identities: an account serves only attempts with its own identity or with none recorded."""

    def is_confirmed(self, account: RailAccount, environment: Environment) -> bool:
        """True: no account needs confirmation."""
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
    """One rail with its present account and those former credentials that are still configured.

    Satisfies AccountRail, OtpRail and CallbackReader. Orders of the present account's business are sent and
    inquired about with the present credentials. Orders of former credentials are only inquired about, with
    those credentials. All other orders are refused before anything is sent, and wait for an operator.
    """

    def __init__(self, connector: Rail, book: AccountBook, former: Sequence[Rail] = ()) -> None:
        self.connector = connector
        self._book = book
        self._former = tuple(former)
        # Kept, because a check against a Protocol takes longer than all else that a callback needs here.
        rails = (connector, *self._former)
        self._readers = tuple(rail for rail in rails if isinstance(rail, CallbackReader))
        self._addressed = tuple(rail for rail in rails if isinstance(rail, AccountCallbackRail))

    @property
    def name(self) -> str:
        """The rail's id."""
        return self.connector.name

    @property
    def capabilities(self) -> Capabilities:
        """The rail's capabilities."""
        return self.connector.capabilities

    @property
    def account(self) -> RailAccount:
        """The account and base address that new attempts use."""
        return self.connector.account

    @property
    def environment(self) -> Environment:
        """LIVE when the present account moves real money."""
        return self.connector.environment

    @property
    def is_unconfirmed(self) -> bool:
        """True while the operator has not confirmed the present identity; no new attempt is sent then."""
        return not self._book.is_confirmed(self.connector.account, self.connector.environment)

    def serves(self, account: RailAccount) -> bool:
        """True when the present credentials belong to the business of `account`. See AccountRail."""
        present = self.connector.account
        if account.identity is not None and account == present:
            return True
        if not _same_account(account, present):
            return False
        identity = self._identity_of(account)
        if identity in (None, present.identity):
            return True
        named = replace(account, identity=identity)
        return self._book.are_one_business(named, present, self.connector.environment)

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Send with the present credentials, if they belong to the order's business and mode."""
        if Environment.of_mode(livemode=order.livemode) is not self.connector.environment:
            return _unsent(OTHER_MODE)
        if not await self._serves_now(order.account):
            return _unsent(self._refusal_code(order.account))
        present = self.connector.account
        if order.account != present:
            order = replace(order, account=present)
        return await self.connector.send(order, timeout_s=timeout_s)

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Submit a one-time password with the present credentials, if the attempt's business owns them.

        Raises InternalError if the connector takes no one-time passwords.
        """
        rail = self.connector
        if not isinstance(rail, OtpRail):
            raise InternalError(f"{rail.name} asked for a one-time password but has no submit_otp")
        if not await self._serves_now(account):
            return _unsent(self._refusal_code(account))
        return await rail.submit_otp(rail.account, reference, otp, timeout_s=timeout_s)

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        """Ask with the present credentials, or with the former ones that belong to the attempt's account."""
        if await self._serves_now(account):
            connector = self.connector
        else:
            found = next((former for former in self._former if self._is_account_of(account, former)), None)
            if found is None:
                code = self._refusal_code(account)
                return StatusAnswer(
                    status_at_rail=RailStatus.NO_INFORMATION, provider_code=code, refused_locally=True
                )
            connector = found
        return await connector.inquire(
            connector.account, operation, reference, timeout_s=timeout_s, details=details
        )

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read a callback for the present account or a former one. See CallbackReader."""
        for rail in self._readers:
            note = rail.read_callback(token, headers, body)
            if note is not None:
                return note
        return None

    def is_account_address(self, token: str) -> bool:
        """Tell whether the token is that of the present account or of a former one."""
        return any(rail.is_account_address(token) for rail in self._addressed)

    async def _serves_now(self, account: RailAccount) -> bool:
        """Return `serves`; when the copy says no, read the rows again first."""
        if self.serves(account):
            return True
        await self._book.refresh()
        return self.serves(account)

    def _is_account_of(self, account: RailAccount, former: Rail) -> bool:
        same = self._identity_of(account) == former.account.identity
        return same and _same_account(account, former.account)

    def _identity_of(self, account: RailAccount) -> str | None:
        return account.identity or self._book.first_identity(account)

    def _refusal_code(self, account: RailAccount) -> str:
        is_unconfirmed = self.is_unconfirmed and _same_account(account, self.connector.account)
        return UNCONFIRMED if is_unconfirmed else OTHER_ACCOUNT


def _same_account(one: RailAccount, other: RailAccount) -> bool:
    return replace(one, identity=None) == replace(other, identity=None)


def _unsent(code: str) -> SendAnswer:
    """Return a local refusal. It allows no other rail: the order belongs to that account, as a refund belongs
    to the account of its debit."""
    return SendAnswer(
        evidence=Evidence.NOT_SENT,
        failure=Failure(FailureCode.PROVIDER_ACCOUNT_BLOCKED, provider_code=code),
        provider_code=code,
        refused_locally=True,
    )
