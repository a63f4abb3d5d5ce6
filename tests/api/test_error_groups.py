"""The group of an error of the engine and the problem that reports it say the same about a repeat."""

import pytest

from synccash.api.problem import of_engine
from synccash.payments.approval import (
    AlreadyWaitingError,
    ExecutionEndedError,
    OperatorNeededError,
    SecondOperatorError,
)
from synccash.payments.errors import (
    EndpointLimitError,
    InsufficientBalanceError,
    KeyInProgressError,
    KeyReusedError,
    MerchantSuspendedError,
    NoRailForModeError,
    ObjectNotFoundError,
    OperatorRequiredError,
    OrderUnreadableError,
    OtpTriesExceededError,
    PaymentError,
    PaymentInFlightError,
    ReferenceAlreadyUsedError,
    RequestError,
    RetryLaterError,
    StateConflictError,
    StoreUnavailableError,
)
from synccash.payments.operator import SignInRefusedError, SignInThrottledError
from synccash.stores.postgres.database import NothingDoneError

GROUPS = {PaymentError, RequestError, RetryLaterError, OperatorRequiredError}
ERRORS = [
    AlreadyWaitingError("apr_1"),
    EndpointLimitError(),
    ExecutionEndedError("apr_1"),
    InsufficientBalanceError(available=1, needed=2),
    KeyInProgressError(1.0),
    KeyReusedError("key"),
    MerchantSuspendedError("m_1"),
    NoRailForModeError(livemode=True),
    NothingDoneError("PostgreSQL was lost"),
    ObjectNotFoundError("payment", "pay_1"),
    OperatorNeededError("an admin key may not do this"),
    OrderUnreadableError("pay_1"),
    OtpTriesExceededError(5),
    PaymentInFlightError("pay_1"),
    ReferenceAlreadyUsedError("payment", "pay_1"),
    SecondOperatorError("one operator may not do this alone"),
    SignInRefusedError(),
    SignInThrottledError(1.0),
    StateConflictError("the payment has ended"),
    StoreUnavailableError("PostgreSQL was lost"),
]


def below(kind: type[PaymentError]) -> set[type[PaymentError]]:
    return {kind}.union(*(below(one) for one in kind.__subclasses__()))


def test_every_error_of_the_engine_is_compared():
    assert {type(error) for error in ERRORS} == {
        kind for kind in below(PaymentError) - GROUPS if kind.__module__.startswith("synccash.")
    }


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_problem_is_retryable_exactly_if_the_same_request_can_succeed_later(error: PaymentError):
    refusal = of_engine(error)
    assert refusal.code != "internal_error"
    assert refusal.retryable is isinstance(error, RetryLaterError)
