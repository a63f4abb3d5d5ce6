"""Opens payments and payouts: assesses and routes the order, commits it, and sends its first attempt."""

from collections.abc import Callable
from dataclasses import dataclass

from synccash.engine.ports import OrderStore
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.requests.first_commits import FirstCommits
from synccash.engine.requests.replies import Replies
from synccash.payments.case import (
    AlreadyClaimed,
    Claim,
    NotCovered,
    NotRefundable,
    Opened,
    Order,
    ReferenceTaken,
    Refused,
    Routed,
    SendsHeld,
    Suspended,
)
from synccash.payments.errors import (
    InsufficientBalanceError,
    MerchantSuspendedError,
    NoRailForModeError,
    PaymentError,
    ReferenceAlreadyUsedError,
    StateConflictError,
)
from synccash.payments.ports import Clock
from synccash.payments.request import Reply

ONE_REFUND_AT_A_TIME = (
    "another refund of this debit is under way, and its rail takes one at a time; "
    "try again when that one has ended"
)


def refusal_of(refused: Refused, order: Order) -> PaymentError:
    """Return the error that tells the caller why the order was not opened."""
    match refused:
        case ReferenceTaken():
            return ReferenceAlreadyUsedError(order.kind, refused.order_id)
        case Suspended():
            return MerchantSuspendedError()
        case NotCovered():
            return InsufficientBalanceError(available=refused.available, needed=refused.needed)
        case NotRefundable(under_way=True):
            return StateConflictError(ONE_REFUND_AT_A_TIME)
        case NotRefundable():
            return StateConflictError(f"only {refused.available} pesewas of this payment are left to refund")


@dataclass(frozen=True, slots=True)
class RoutedOpenings:
    """Opens the orders that routing assigns a rail. A send runs on when its request is cancelled."""

    order_store: OrderStore
    first: FirstCommits
    order_worker: OrderWorker
    replies: Replies
    clock: Clock

    async def open(self, new_order: Callable[[], Routed], claim: Claim) -> Reply:
        """Open the order that `new_order` builds, once for each claim, and reply to its request.

        `new_order` is called again when a recovery has begun in the meantime. Raises KeyReusedError,
        KeyInProgressError, ReferenceAlreadyUsedError, NoRailForModeError, InsufficientBalanceError,
        MerchantSuspendedError, StoreUnavailableError.
        """
        order = new_order()
        if self.first.is_of_wrong_mode(order):
            return await self.replies.repeat_or_refuse(claim, NoRailForModeError(livemode=order.livemode))
        opening = self.first.opening(claim, order)
        leased_at = self.clock.monotonic()
        result = await self.order_store.open(opening)
        if not isinstance(result, Opened | AlreadyClaimed):
            self.first.not_opened(order)
        match result:
            case SendsHeld():
                self.first.recovery.sends_held()
                return await self.open(new_order, claim)
            case AlreadyClaimed():
                return self.replies.repeat(result, claim)
            case Opened():
                if opening.answer is not None:
                    return Reply(opening.answer.status, opening.answer.body)
                attempt = result.case.live
                work = (
                    self.order_worker.screen(result.case)
                    if attempt is None
                    else self.order_worker.send(result.case, attempt, leased_at=leased_at)
                )
                return await self.replies.first(result.case, work)
            case _:
                raise refusal_of(result, order)
