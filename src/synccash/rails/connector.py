"""Base classes of the connectors: what a connector says of itself, and the checks before any byte leaves.

A provider's connector adds its wire format: `_send` and `_inquire` run only for an order and an account that
passed the checks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    Capabilities,
    Environment,
    FloatAnswer,
    Operation,
    RailAccount,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.answers import OTHER_ACCOUNT, no_turn, not_asked, refuse_other_account, unsent
from synccash.rails.pacer import Clock, Pacer, Turn


class Connector(ABC):
    """The connector of one account with a provider. See `synccash.engine.ports.Rail`.

    `name` is the id of the rail, such as `mtn_momo`; `account` the account and address of new attempts;
    `environment` says whether it moves real money, as the operator declares; `capabilities` are its networks
    and operations, as far as it has credentials for them. All are plain attributes, because each payment
    reads them some thirty times.

    `currency`: the only one that the account takes; None for no check. `requirement`: what an operation
    needs that the account does not have, for the code of its refusal (`no_payout_account`).
    `refunds_by_transaction_id`: the provider's own id of the debit is enough for a refund.
    """

    def __init__(
        self,
        account: RailAccount,
        environment: Environment,
        capabilities: Capabilities,
        *,
        currency: str | None = None,
        requirement: str = "account",
        refunds_by_transaction_id: bool = False,
    ) -> None:
        self.name = account.rail
        self.account = account
        self.environment = environment
        self.capabilities = capabilities
        self._currency = currency
        self._requirement = requirement
        self._refunds_by_transaction_id = refunds_by_transaction_id

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Send the order once, or refuse it before any byte leaves."""
        return self._refusal(order) or await self._send(order, timeout_s)

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        """Ask for the status of our reference, at the account that it was sent through."""
        if not self._serves(account, operation):
            return not_asked(OTHER_ACCOUNT)
        return await self._inquire(operation, reference, timeout_s, details)

    @abstractmethod
    async def _send(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        """Send an order that passed the checks. Never repeats a request that may move money."""

    @abstractmethod
    async def _inquire(
        self, operation: Operation, reference: str, timeout_s: float, details: AttemptDetails
    ) -> StatusAnswer:
        """Ask about an attempt of this account."""

    def _serves(self, account: RailAccount, operation: Operation) -> bool:
        """Return True for an operation that this account has."""
        return account == self.account and operation in self.capabilities.operations

    def _refusal(self, order: SendOrder) -> SendAnswer | None:
        """Return why an order cannot be sent through this account, or None."""
        if order.operation not in self.capabilities.operations:
            why = f"no_{order.operation.value}_{self._requirement}"
            return unsent(FailureCode.PROVIDER_ACCOUNT_BLOCKED, why)
        if order.account != self.account:
            return refuse_other_account()
        if self._currency is not None and order.currency != self._currency:
            return unsent(FailureCode.PROVIDER_ACCOUNT_BLOCKED, "other_currency")
        if order.operation is Operation.REFUND and not self._names_debit(order):
            return unsent(FailureCode.PROVIDER_ERROR, "no_original_reference")
        return None

    def _names_debit(self, order: SendOrder) -> bool:
        by_id = self._refunds_by_transaction_id and order.original_transaction_id is not None
        return order.original_reference is not None or by_id


class PacedConnector(Connector):
    """A connector that keeps its inquiries under a rate, over all processes together. See `Pacer`."""

    def __init__(
        self,
        account: RailAccount,
        environment: Environment,
        capabilities: Capabilities,
        *,
        clock: Clock,
        status_per_s: float,
        inquirers: Callable[[], int],
        currency: str | None = None,
        requirement: str = "account",
    ) -> None:
        super().__init__(account, environment, capabilities, currency=currency, requirement=requirement)
        self._clock = clock
        self._pacer = Pacer(status_per_s, clock, inquirers)

    @property
    def inquiries_shed(self) -> int:
        """How many rechecks after the end were shed under the rate."""
        return self._pacer.shed

    async def _inquire(
        self, operation: Operation, reference: str, timeout_s: float, details: AttemptDetails
    ) -> StatusAnswer:
        turn, paced_s = await self._turn(timeout_s, details)
        if turn is Turn.SHED:
            return no_turn(turn.value, again_in_s=timeout_s)
        if turn is Turn.TOO_LATE:
            return no_turn(turn.value, again_in_s=self._pacer.again_in_s(details.merchant_id))
        return await self._inquire_paced(operation, reference, timeout_s - paced_s, details, paced_s)

    async def _turn(
        self, timeout_s: float, details: AttemptDetails = NO_ATTEMPT_DETAILS
    ) -> tuple[Turn, float]:
        """Wait for a turn. Returns it with the seconds that the wait took."""
        began = self._clock.monotonic()
        turn = await self._pacer.turn(
            timeout_s=timeout_s,
            priority=details.priority,
            merchant_id=details.merchant_id,
            since=details.order_created_at,
        )
        return turn, self._clock.monotonic() - began

    @abstractmethod
    async def _inquire_paced(
        self,
        operation: Operation,
        reference: str,
        timeout_s: float,
        details: AttemptDetails,
        paced_s: float,
    ) -> StatusAnswer:
        """Ask about an attempt of this account within `timeout_s`, after a wait of `paced_s` seconds."""


class PacedFloatConnector(PacedConnector):
    """A paced connector that reports the float of its account. See `synccash.engine.ports.FloatRail`."""

    async def read_float(self, account: RailAccount, *, timeout_s: float) -> FloatAnswer:
        """Ask for the float, after waiting for a turn like an inquiry."""
        if not self._serves(account, Operation.PAYOUT):
            return FloatAnswer(provider_code=OTHER_ACCOUNT)
        turn, paced_s = await self._turn(timeout_s)
        if turn is not Turn.GRANTED:
            return FloatAnswer(provider_code=turn.value)
        return await self._read_float(timeout_s - paced_s)

    @abstractmethod
    async def _read_float(self, timeout_s: float) -> FloatAnswer:
        """Ask for the float of this account."""


def channel_of(order: SendOrder, channels: Mapping[Network, str], code: str) -> str | SendAnswer:
    """Return the provider's name for the payer's network.

    Where the network is not known, or the provider has no name for it, returns a refusal with `code`.
    """
    channel = None if order.network is None else channels.get(order.network)
    return unsent(FailureCode.INVALID_PAYER, code) if channel is None else channel
