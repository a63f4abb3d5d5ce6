"""Payments and payouts: lists with filters in the address, search, one page an order, and CSV."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from litestar import get
from litestar.di import NamedDependency as Given
from litestar.response import Stream

from synccash.administration.explanations import explain_status
from synccash.console.actions import actions_of_order
from synccash.console.management_calls import CallRefusedError
from synccash.console.order_story import curl_commands, story_of
from synccash.console.rendering import csv_line, link, masked_number, money
from synccash.console.visit import Html, PathText, Visit
from synccash.payments.payer import Msisdn

_PAGE = 50
_EXPORT_PAGE = 500
_EXPORT_MAX = 10_000
_FILTERS = ("merchant", "status", "detail", "rail", "reference", "wallet")
_KINDS = ("payments", "payouts")
STATUSES = ("created", "requires_action", "processing", "succeeded", "failed", "canceled")
DETAILS = ("awaiting_payer", "outcome_unknown", "under_review", "risk_review", "queued", "expired")
_COLUMNS = (
    "id",
    "created_at",
    "merchant_id",
    "mode",
    "reference",
    "amount",
    "currency",
    "status",
    "status_detail",
    "rail",
    "attempts",
    "number",
)


@get("/orders")
async def orders(visit: Given[Visit]) -> Html:
    """List payments or payouts, newest first."""
    kind = _kind(visit)
    filters = {name: visit.query(name) for name in _FILTERS}
    found = await _page_of(visit, kind, visit.query("after"), _PAGE)
    return visit.page(
        "orders.html",
        kind=kind,
        filters=filters,
        statuses=STATUSES,
        details=DETAILS,
        rows=found["data"],
        older=link("/console/orders", kind=kind, **filters, after=found["next"])
        if found["has_more"]
        else None,
        newest=link("/console/orders", kind=kind, **filters) if visit.query("after") else None,
        export=link("/console/orders.csv", kind=kind, **filters),
    )


@get("/orders.csv")
async def export(visit: Given[Visit]) -> Stream:
    """Return the orders of a list as CSV, with masked numbers."""
    kind = _kind(visit)
    first = await _page_of(visit, kind, None, _EXPORT_PAGE)

    async def lines() -> AsyncGenerator[bytes]:
        yield csv_line(_COLUMNS).encode()
        found, sent = first, 0
        while True:
            for one in found["data"]:
                yield csv_line(_cells(kind, one)).encode()
            sent += len(found["data"])
            if not found["has_more"]:
                return
            if sent >= _EXPORT_MAX:
                yield csv_line([f"ends after {sent} orders: narrow the filters for the rest"]).encode()
                return
            found = await _page_of(visit, kind, found["next"], _EXPORT_PAGE)

    headers = {"Content-Disposition": f'attachment; filename="{kind}.csv"'}
    return Stream(lines(), media_type="text/csv; charset=utf-8", headers=headers)


@get("/orders/{order_id:str}")
async def order(visit: Given[Visit], order_id: PathText) -> Html:
    """Show one payment, refund or payout: its state and why, what happened, attempts and webhooks."""
    found = await visit.api("GET", "admin", "orders", order_id)
    refunds: list[dict[str, Any]] = found.get("refunds", [])
    ids = [order_id, *(one["id"] for one in refunds)]
    reading = visit.site.parts.reading
    deliveries, calls = await asyncio.gather(reading.deliveries(ids), reading.api_calls(ids))
    wallet: dict[str, Any] = found.get("payer") or found.get("payee") or {}
    return visit.page(
        "order.html",
        order=found,
        wallet=wallet,
        refunds=refunds,
        deliveries=deliveries,
        why=explain_status(found),
        story=story_of(found, refunds, calls, deliveries),
        actions=[one for one in actions_of_order(found) if visit.may(one.route)],
        curl=curl_commands(visit.site.parts.public_url, found),
    )


@get("/search")
async def search(visit: Given[Visit]) -> Html:
    """Find orders by any id, reference, number or provider id; go to the order if it is the only one."""
    text = visit.query("q")
    session = visit.signed_in
    del session
    results: Sequence[dict[str, Any]] = await _search(visit, text) if text else ()
    if len(results) == 1 and not visit.is_fragment:
        return visit.redirect(results[0]["href"])
    template = "search_results.html" if visit.is_fragment else "search.html"
    return visit.page(template, text=text or "", results=results)


async def _search(visit: Visit, text: str) -> Sequence[dict[str, Any]]:
    if text.startswith("mer_"):
        return [_result("merchant", text, "orders of this merchant", link("/console/orders", merchant=text))]
    if text.startswith("apr_"):
        return [_result("approval", text, "waits for a second operator", "/console/approvals")]
    found = [
        _result(one["kind"], one["id"], one["why"], f"/console/orders/{one['id']}")
        for one in await visit.site.parts.reading.search(text)
    ]
    if found:
        return found
    field = "wallet" if _is_number(text) else "reference"
    for kind in _KINDS:
        try:
            page = await visit.api("GET", "admin", kind, query={field: text, "limit": 10})
        except CallRefusedError:
            continue
        found += [
            _result(
                kind.removesuffix("s"),
                one["id"],
                f"{money(one['amount'])}, {one['status']}, {one['reference']}",
                f"/console/orders/{one['id']}",
            )
            for one in page["data"]
        ]
    return found


def _result(kind: str, name: str, why: str, href: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "why": why, "href": href}


def _is_number(text: str) -> bool:
    try:
        Msisdn.parse(text)
    except ValueError:
        return False
    return True


def _kind(visit: Visit) -> str:
    kind = visit.query("kind")
    return kind if kind in _KINDS else "payments"


async def _page_of(visit: Visit, kind: str, after: str | None, limit: int) -> Any:
    query = {name: visit.query(name) for name in _FILTERS}
    return await visit.api("GET", "admin", kind, query={**query, "after": after, "limit": limit})


def _cells(kind: str, one: dict[str, Any]) -> list[Any]:
    number = one["payer_msisdn" if kind == "payments" else "payee_msisdn"]
    return [
        one["id"],
        one["created_at"],
        one["merchant_id"],
        "live" if one["livemode"] else "test",
        one["reference"],
        f"{one['amount'] / 100:.2f}",
        one["currency"],
        one["status"],
        one["status_detail"],
        one["rail"],
        one["attempt_count"],
        masked_number(number),
    ]


ORDER_PAGES = (orders, export, order, search)
