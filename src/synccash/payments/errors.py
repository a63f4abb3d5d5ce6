"""Errors of the domain and the engine, grouped by what the caller can do. The API maps them to HTTP statuses.

PaymentError                        the service refused a request, or cannot carry it out now
├── RequestError                    correct the request
│   ├── ObjectNotFoundError         no such object for this merchant
│   ├── KeyReusedError              the idempotency key was used with another payload
│   ├── ReferenceAlreadyUsedError   another payment or payout of the merchant uses the reference
│   ├── NoRailForModeError          only accounts of the other mode can take the order
│   ├── StateConflictError          the object's state does not allow the operation
│   │   └── OtpTriesExceededError   the payment takes no further one-time password
│   ├── PaymentInFlightError        money may have moved: too late to cancel
│   └── EndpointLimitError          the merchant has the maximum number of webhook endpoints
├── RetryLaterError                 wait, and send the same request again
│   ├── KeyInProgressError          the first request under the key is still running
│   ├── StoreUnavailableError       the order store cannot be reached
│   ├── OrderUnreadableError        this version of the service cannot read the order's row
│   └── InsufficientBalanceError    the merchant's balance does not cover the amount and its fee
└── OperatorRequiredError           ask an operator
    └── MerchantSuspendedError      the merchant is suspended: no new order starts

InternalError                       report a bug: the service tried to break one of its own rules
├── IllegalTransitionError          an event that is not in the transition table of the order or attempt
└── InvariantBrokenError            PostgreSQL refused a commit that breaks a constraint (stores/postgres)
"""


class PaymentError(Exception):
    """The base class of the errors that a caller can do something about."""


class RequestError(PaymentError):
    """The request cannot succeed as it is: correct it, or do not repeat it."""


class RetryLaterError(PaymentError):
    """The same request, under the same idempotency key, can succeed later. Its problem is `retryable`."""


class OperatorRequiredError(PaymentError):
    """Only an operator can remove the cause."""


class InternalError(Exception):
    """A bug: the service tried to break one of its own rules. Nothing was written or sent.

    It is no PaymentError, so that no handler of refused requests hides it.
    """


class IllegalTransitionError(InternalError):
    """The order or attempt `object_id` has no transition for the event in its present state."""

    def __init__(self, object_id: str, state: str, event: str) -> None:
        super().__init__(f"{object_id} is {state}, and the event {event} is illegal in that state")
        self.object_id = object_id
        self.state = state
        self.event = event


class ObjectNotFoundError(RequestError):
    """The object does not exist, or belongs to another merchant."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"no {kind} {object_id}")
        self.kind = kind
        self.object_id = object_id


class KeyReusedError(RequestError):
    """The idempotency key was used with another payload."""


class KeyInProgressError(RetryLaterError):
    """The first request with this key is still running; retry after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the first request under this key is still running")
        self.retry_after_s = retry_after_s


class ReferenceAlreadyUsedError(RequestError):
    """The payment or payout `order_id` uses the merchant's reference; references are never reused."""

    def __init__(self, kind: str, order_id: str) -> None:
        super().__init__(f"the reference is already used by {order_id}")
        self.kind = kind
        self.order_id = order_id


class PaymentInFlightError(RequestError):
    """An attempt may still move money, so the payment cannot be canceled."""


class NoRailForModeError(RequestError):
    """Only rail accounts of the other mode can take the order."""

    def __init__(self, *, livemode: bool) -> None:
        mode, other = ("live", "test") if livemode else ("test", "live")
        super().__init__(
            f"no {mode} rail account can take this order, and a {mode} key never uses a {other} one"
        )
        self.livemode = livemode


class StateConflictError(RequestError):
    """The object's state does not allow the operation; the text names the state and what to do next."""


class OtpTriesExceededError(StateConflictError):
    """As many one-time passwords were submitted for the payment as are accepted: `tries`. None was sent."""

    def __init__(self, tries: int) -> None:
        super().__init__(f"{tries} one-time passwords were submitted for the payment, the most that it takes")
        self.tries = tries


class OrderUnreadableError(RetryLaterError):
    """This version of the service cannot read the order's row. Nothing was changed.

    A process of a newer version can, and during an upgrade it may answer the next request.
    """

    def __init__(self, order_id: str) -> None:
        super().__init__(f"this version of SyncCash cannot read {order_id}")
        self.order_id = order_id


class InsufficientBalanceError(RetryLaterError):
    """The merchant's balance does not cover the amount and its fee. Both in pesewas."""

    def __init__(self, *, available: int, needed: int) -> None:
        super().__init__(f"the balance of {available} pesewas does not cover {needed}")
        self.available = available
        self.needed = needed


class MerchantSuspendedError(OperatorRequiredError):
    """The merchant is suspended: open orders are finished, and no new order starts."""


class EndpointLimitError(RequestError):
    """The merchant has the maximum number of webhook endpoints in this mode."""


class StoreUnavailableError(RetryLaterError):
    """The order store cannot be reached. Nothing was decided; retry after `retry_after_s` seconds."""

    def __init__(self, reason: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
