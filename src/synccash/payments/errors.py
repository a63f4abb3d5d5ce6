"""Why the engine does not do what was asked. Each error carries facts; HTTP statuses live with the API.

PaymentError
├── ObjectNotFoundError         no such object for this merchant
├── KeyReusedError              the idempotency key stands for another payload
├── KeyInProgressError          the first request under the key is still running
├── ReferenceAlreadyUsedError   the merchant's reference belongs to another payment or payout
├── PaymentInFlightError        money may have moved: too late to cancel
├── NoRailForModeError          only accounts of the other mode could take the order
├── StateConflictError          the object's state does not allow it
├── OrderUnreadableError        this version of the service cannot read the order's row
├── InsufficientBalanceError    the merchant's balance does not cover it
├── MerchantSuspendedError      nothing new starts for this merchant
├── EndpointLimitError          the merchant has as many webhook endpoints as are allowed
└── StoreUnavailableError       the ledger cannot be reached
"""


class PaymentError(Exception):
    """The root of what the engine refuses."""


class ObjectNotFoundError(PaymentError):
    """No such object, or not this merchant's."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"no {kind} {object_id}")
        self.kind = kind
        self.object_id = object_id


class KeyReusedError(PaymentError):
    """The idempotency key was used with another payload."""


class KeyInProgressError(PaymentError):
    """The first request under this key is still running; ask again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the first request under this key is still running")
        self.retry_after_s = retry_after_s


class ReferenceAlreadyUsedError(PaymentError):
    """The merchant's reference belongs to the payment or payout `order_id`, for ever."""

    def __init__(self, kind: str, order_id: str) -> None:
        super().__init__(f"the reference belongs to {order_id}")
        self.kind = kind
        self.order_id = order_id


class PaymentInFlightError(PaymentError):
    """An attempt may still move money, so the payment cannot be canceled."""


class NoRailForModeError(PaymentError):
    """Rails could take the order, but their accounts are of the other mode."""

    def __init__(self, *, livemode: bool) -> None:
        mode, other = ("live", "test") if livemode else ("test", "live")
        super().__init__(
            f"no {mode} rail account can take this order, and a {mode} key never uses a {other} one"
        )
        self.livemode = livemode


class StateConflictError(PaymentError):
    """The object's state does not allow it; the text says which state and what to do."""


class OrderUnreadableError(PaymentError):
    """The row of the order holds what this version of the service cannot read. Nothing was changed."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"this version of SyncCash cannot read {order_id}")
        self.order_id = order_id


class InsufficientBalanceError(PaymentError):
    """The merchant's balance does not cover what would be sent, its fee included. Both in pesewas."""

    def __init__(self, *, available: int, needed: int) -> None:
        super().__init__(f"the balance of {available} pesewas does not cover {needed}")
        self.available = available
        self.needed = needed


class MerchantSuspendedError(PaymentError):
    """The merchant is suspended: what is open is finished, and nothing new starts."""


class EndpointLimitError(PaymentError):
    """The merchant has as many webhook endpoints as are allowed in this mode."""


class StoreUnavailableError(PaymentError):
    """The ledger cannot be reached. Nothing was decided; ask again after `retry_after_s` seconds."""

    def __init__(self, reason: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
