"""Rails that orders name and that are not set up any more."""

from synccash.engine.ports import AccountRail
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import (
    NO_TRACES,
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
NOTHING_IS_SURE = OperationCapability(dedup_by_reference=False, lookup_by_reference=False)
"""What a rail promises for an operation that it is not set up for."""


class AbsentRail:
    """Satisfies Rail and OtpRail and reaches nobody: what was sent through it waits for its return."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The id that the orders know it by."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """No network: nothing new is routed here."""
        return Capabilities(networks=frozenset(), operations=dict.fromkeys(Operation, NOTHING_IS_SURE))

    @property
    def account(self) -> RailAccount:
        """Nobody's."""
        return RailAccount(rail=self._name, account="", base_url="", target_environment="")

    @property
    def environment(self) -> Environment:
        """Test: no real money leaves through it."""
        return Environment.TEST

    @property
    def is_unconfirmed(self) -> bool:
        """True: nothing is sent through it."""
        return True

    def serves(self, account: RailAccount) -> bool:
        """False: it acts for nobody."""
        del account
        return False

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Send nothing."""
        del order, timeout_s
        return _UNSENT

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Hand nothing over."""
        del account, reference, otp, timeout_s
        return _UNSENT

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        traces: AttemptDetails = NO_TRACES,
    ) -> StatusAnswer:
        """Ask nobody."""
        del account, operation, reference, timeout_s, traces
        return StatusAnswer(
            status_at_rail=RailStatus.NO_INFORMATION, provider_code=NOT_SET_UP, refused_locally=True
        )


class ConfiguredRails(dict[str, AccountRail]):
    """The rails that are set up. One that an order names and that is not there is an AbsentRail."""

    def __missing__(self, name: str) -> AccountRail:
        return AbsentRail(name)
