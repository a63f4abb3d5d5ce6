"""The filters of the lists of orders that operators ask for."""

from typing import Literal

from synccash.administration.errors import AdministrationError
from synccash.payments.payer import Msisdn
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.stores.postgres.operations.operating import OrderFilter

_LIMIT_MAX = 1000


def order_filter(
    kind: Literal["payments", "payouts"],
    *,
    merchant: str | None,
    status: PaymentStatus | None,
    detail: StatusDetail | None,
    rail: str | None,
    reference: str | None,
    wallet: str | None,
    after: str | None,
    limit: int,
) -> OrderFilter:
    """Returns the filter of a list of orders. Raises AdministrationError."""
    try:
        msisdn = Msisdn.parse(wallet).digits if wallet else None
    except ValueError as error:
        option = "--payer" if kind == "payments" else "--payee"
        raise AdministrationError(f"{option}: {error}") from error
    check_limit(limit)
    return OrderFilter(
        kind=kind,
        merchant=merchant,
        status=status,
        detail=detail,
        rail=rail,
        reference=reference,
        wallet=msisdn,
        after=after,
        limit=limit,
    )


def check_limit(limit: int) -> None:
    """Raises AdministrationError if a list cannot have this length."""
    if not 1 <= limit <= _LIMIT_MAX:
        raise AdministrationError(f"--limit: expected 1 to {_LIMIT_MAX}")
