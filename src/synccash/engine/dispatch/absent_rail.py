"""Stands in for a rail that stored orders name and that is no longer configured."""

from collections.abc import Mapping

from synccash.engine.ports import AccountRail
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    Capabilities,
    Environment,
    Operation,
    OperationCapability,
    RailAccount,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.resilience.evidence import Evidence

NOT_SET_UP = "rail_not_set_up"
_UNSENT = SendAnswer(
    evidence=Evidence.NOT_SENT,
    failure=Failure(FailureCode.PROVIDER_ACCOUNT_BLOCKED, reroute=True, provider_code=NOT_SET_UP),
    provider_code=NOT_SET_UP,
    refused_locally=True,
)
NO_GUARANTEES = OperationCapability(dedup_by_reference=False)
"""The capability of a rail for an operation that it is not configured for: it promises nothing."""


class AbsentRail:
    """Satisfies AccountRail and OtpRail, and calls nothing. Orders sent through the rail wait until it is
    configured again."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The rail's id, as stored on the orders."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """Serves no network, so no new order is routed here."""
        return Capabilities(networks=frozenset(), operations=dict.fromkeys(Operation, NO_GUARANTEES))

    @property
    def account(self) -> RailAccount:
        """An empty account."""
        return RailAccount(rail=self._name, account="", base_url="", target_environment="")

    @property
    def environment(self) -> Environment:
        """TEST: no real money leaves through it."""
        return Environment.TEST

    @property
    def is_unconfirmed(self) -> bool:
        """True: nothing is sent through it."""
        return True

    def serves(self, account: RailAccount) -> bool:
        """False: it acts for no account."""
        del account
        return False

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> None:
        """Return None: it reads no callback."""
        del token, headers, body

    def is_account_address(self, token: str) -> bool:
        """False: it has no account."""
        del token
        return False

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Return NOT_SENT."""
        del order, timeout_s
        return _UNSENT

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Return NOT_SENT."""
        del account, reference, otp, timeout_s
        return _UNSENT

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        """Return NO_INFORMATION."""
        del account, operation, reference, timeout_s, details
        return StatusAnswer(
            status_at_rail=RailStatus.NO_INFORMATION, provider_code=NOT_SET_UP, refused_locally=True
        )


class ConfiguredRails(dict[str, AccountRail]):
    """The configured rails by name. A name that is not configured gives an AbsentRail."""

    def __missing__(self, name: str) -> AccountRail:
        return AbsentRail(name)
