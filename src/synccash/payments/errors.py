"""Errors that the engine raises when it refuses a request. The API maps them to HTTP statuses.

PaymentError
├── ObjectNotFoundError         no such object for this merchant
├── KeyReusedError              the idempotency key was used with another payload
├── KeyInProgressError          the first request under the key is still running
├── ReferenceAlreadyUsedError   another payment or payout of the merchant uses the reference
├── PaymentInFlightError        money may have moved: too late to cancel
├── NoRailForModeError          only accounts of the other mode can take the order
├── StateConflictError          the object's state does not allow the operation
├── OrderUnreadableError        this version of the service cannot read the order's row
├── InsufficientBalanceError    the merchant's balance does not cover the amount and its fee
├── MerchantSuspendedError      the merchant is suspended: no new order starts
├── EndpointLimitError          the merchant has the maximum number of webhook endpoints
└── StoreUnavailableError       the order store cannot be reached
"""


class PaymentError(Exception):
    """The base class of the engine's errors."""


class ObjectNotFoundError(PaymentError):
    """The object does not exist, or belongs to another merchant."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"no {kind} {object_id}")
        self.kind = kind
        self.object_id = object_id


class KeyReusedError(PaymentError):
    """The idempotency key was used with another payload."""


class KeyInProgressError(PaymentError):
    """The first request with this key is still running; retry after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the first request under this key is still running")
        self.retry_after_s = retry_after_s


class ReferenceAlreadyUsedError(PaymentError):
    """The payment or payout `order_id` uses the merchant's reference; references are never reused."""

    def __init__(self, kind: str, order_id: str) -> None:
        super().__init__(f"the reference belongs to {order_id}")
        self.kind = kind
        self.order_id = order_id


class PaymentInFlightError(PaymentError):
    """An attempt may still move money, so the payment cannot be canceled."""


class NoRailForModeError(PaymentError):
    """Only rail accounts of the other mode can take the order."""

    def __init__(self, *, livemode: bool) -> None:
        mode, other = ("live", "test") if livemode else ("test", "live")
        super().__init__(
            f"no {mode} rail account can take this order, and a {mode} key never uses a {other} one"
        )
        self.livemode = livemode


class StateConflictError(PaymentError):
    """The object's state does not allow the operation; the text names the state and what to do next."""


class OrderUnreadableError(PaymentError):
    """This version of the service cannot read the order's row. Nothing was changed."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"this version of SyncCash cannot read {order_id}")
        self.order_id = order_id


class InsufficientBalanceError(PaymentError):
    """The merchant's balance does not cover the amount and its fee. Both in pesewas."""

    def __init__(self, *, available: int, needed: int) -> None:
        super().__init__(f"the balance of {available} pesewas does not cover {needed}")
        self.available = available
        self.needed = needed


class MerchantSuspendedError(PaymentError):
    """The merchant is suspended: open orders are finished, and no new order starts."""


class EndpointLimitError(PaymentError):
    """The merchant has the maximum number of webhook endpoints in this mode."""


class StoreUnavailableError(PaymentError):
    """The order store cannot be reached. Nothing was decided; retry after `retry_after_s` seconds."""

    def __init__(self, reason: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
