"""Lists and shows orders of all merchants for an operator, directly from PostgreSQL."""

from typing import Any, Literal

import msgspec

from synccash.administration.database import with_database
from synccash.administration.errors import AdministrationError
from synccash.engine.commit_builder import render
from synccash.engine.requests.replies import read_order
from synccash.payments.document import entry_document
from synccash.payments.errors import OrderUnreadableError
from synccash.payments.payer import Msisdn
from synccash.payments.payment import OrderKind, PaymentStatus, StatusDetail
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operating import OrderFilter, PostgresOperating
from synccash.stores.postgres.order_store import PostgresOrderStore
from synccash.stores.postgres.waiting import PostgresWaiting


def list_orders(
    settings: Settings,
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
) -> dict[str, Any]:
    """Returns one page, newest first; its `next` is the `after` of the next page.

    Raises AdministrationError.
    """
    try:
        msisdn = Msisdn.parse(wallet).digits if wallet else None
    except ValueError as error:
        option = "--payer" if kind == "payments" else "--payee"
        raise AdministrationError(f"{option}: {error}") from error
    if not 1 <= limit <= 1000:
        raise AdministrationError("--limit: expected 1 to 1000")
    order_filter = OrderFilter(
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
    found = with_database(settings, lambda database: PostgresOperating(database).orders(order_filter))
    more = len(found) > limit
    return {"data": found[:limit], "has_more": more, "next": found[limit - 1]["id"] if more else None}


def list_waiting(settings: Settings, *, limit: int) -> list[dict[str, Any]]:
    """Returns what waits for an operator's decision, longest waiting first. Raises AdministrationError."""
    if not 1 <= limit <= 1000:
        raise AdministrationError("--limit: expected 1 to 1000")
    return list(with_database(settings, lambda database: PostgresWaiting(database).oldest(limit)))


def show_order(settings: Settings, order_id: str) -> dict[str, Any]:
    """Returns an order as in the API, with the API key and the request that made it, and its `timeline`; a
    payment also with its `refunds`.

    Raises AdministrationError.
    """

    async def read(database: Database) -> dict[str, Any] | None:
        case = await read_order(PostgresOrderStore(database), order_id)
        if case is None:
            return None
        operating = PostgresOperating(database)
        entries = await operating.timeline(order_id)
        document = msgspec.json.decode(render(case.order, case.attempts))
        if case.order.kind is OrderKind.PAYMENT:
            document["refunds"] = await operating.refunds(order_id)
        made = {"api_key_id": case.order.api_key_id, "request_id": case.order.request_id}
        return {**document, **made, "timeline": [entry_document(entry) for entry in entries]}

    try:
        found = with_database(settings, read)
    except OrderUnreadableError as error:
        raise AdministrationError(
            f"{error}: run the newest version that works on this database; "
            "the table unreadable_orders holds what could not be read"
        ) from error
    if found is None:
        raise AdministrationError(
            f"No payment, refund or payout has the id {order_id}. To find a payment by its merchant's "
            "reference: synccash payments list --reference REF"
        )
    return found
