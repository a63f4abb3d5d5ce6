"""What a merchant's people see: the orders, webhooks, keys and API log of their merchant, and nothing else.

They sign in with an API key that may read payments. The session is bound to the merchant and the mode of that
key, and reads only.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency as Given
from litestar.exceptions import NotFoundException

from synccash.administration.explanations import explain_status, sentence_of
from synccash.console.order_story import curl_commands, route_of
from synccash.console.pages.sign_in import begin_session, sign_in_form_page
from synccash.console.rendering import link
from synccash.console.session import MERCHANT_TOKEN, token_hash
from synccash.console.visit import Html, PathText, Visit
from synccash.payments.access import AccessScope, CallerKind, Principal
from synccash.payments.request import Tenant

MERCHANT_ROOT = "/console/merchant"
_SHARED = ("/console/theme", "/console/static/")
_SIGN_IN = f"{MERCHANT_ROOT}/sign-in"
_PAGE = 50
_KINDS: Mapping[str, str] = {"pay": "payments", "re": "refunds", "po": "payouts"}
_FILTERS = ("status", "reference")


def is_merchant_page(path: str) -> bool:
    """Tell whether a merchant's session may use an address of the console."""
    return path == MERCHANT_ROOT or path.startswith((f"{MERCHANT_ROOT}/", *_SHARED))


@get("/merchant/sign-in")
async def merchant_sign_in_form(visit: Given[Visit]) -> Html:
    """Show the form of a merchant's sign-in."""
    return sign_in_form_page(visit, "merchant_sign_in.html")


@post("/merchant/sign-in")
async def merchant_sign_in(visit: Given[Visit]) -> Html:
    """Sign in with an API key of the merchant. Each sign-in makes a new session."""
    key = visit.form.get("key", "")
    # A session makes no other session, so it ends when it was told to.
    is_key = key.isascii() and not key.startswith(MERCHANT_TOKEN)
    found = await visit.site.parts.credential(visit.scope, token_hash(key)) if is_key else None
    tenant = None if found is None else _tenant_of(found.principal)
    if found is None or tenant is None:
        problem = (
            "This is no API key of a merchant that may read payments (scope payments:read) from your "
            "address, or too many were tried. Wait a minute before you try again."
        )
        return sign_in_form_page(visit, "merchant_sign_in.html", 401, problem=problem)
    begin_session(visit, await visit.site.parts.merchant_sessions.begin(found.principal, tenant))
    return visit.redirect(MERCHANT_ROOT)


def _tenant_of(principal: Principal) -> Tenant | None:
    """Return whose orders a caller may read; None for any that is no key of a merchant that may."""
    is_key = principal.kind is CallerKind.MERCHANT_KEY
    return principal.tenant if is_key and AccessScope.PAYMENTS_READ in principal.scopes else None


@post("/merchant/sign-out")
async def merchant_sign_out(visit: Given[Visit]) -> Html:
    """End the session."""
    await visit.site.parts.merchant_sessions.end(visit.merchant_signed_in.token_hash)
    visit.set_cookies.append(visit.site.cookies.expire(visit.site.cookies.session))
    return visit.redirect(_SIGN_IN)


@get("/merchant")
async def merchant_orders(visit: Given[Visit]) -> Html:
    """List the merchant's payments, newest first, with the newest payouts and the balance."""
    tenant = visit.merchant_signed_in.tenant
    filters = {name: visit.query(name) for name in _FILTERS}
    query = {**filters, "after": visit.query("after"), "limit": _PAGE}
    found, balance, payouts = await asyncio.gather(
        visit.api("GET", "payments", query=query),
        visit.api("GET", "balance"),
        visit.site.parts.merchant_reading.payouts(tenant, 10),
    )
    older = link(MERCHANT_ROOT, **filters, after=found["next"]) if found["has_more"] else None
    return visit.page(
        "merchant_orders.html",
        rows=found["data"],
        payouts=payouts,
        balance=balance,
        filters=filters,
        older=older,
    )


@get("/merchant/orders/{order_id:str}")
async def merchant_order(visit: Given[Visit], order_id: PathText) -> Html:
    """Show one of the merchant's orders, as the merchant's API shows it."""
    tenant = visit.merchant_signed_in.tenant
    kind = _KINDS.get(order_id.partition("_")[0])
    if kind is None:
        raise NotFoundException
    order = await visit.api("GET", kind, order_id)
    timeline: dict[str, Any] = {"data": []}
    if kind == "payments":
        timeline = await visit.api("GET", kind, order_id, "timeline")
    return visit.page(
        "merchant_order.html",
        order=order,
        wallet=order.get("payer") or order.get("payee") or {},
        why=explain_status(order),
        timeline=[(one["at"], sentence_of(one)) for one in timeline["data"]],
        deliveries=await visit.site.parts.merchant_reading.deliveries_of(tenant, order_id),
        curl=curl_commands(visit.site.parts.public_url, order),
    )


@get("/merchant/webhooks")
async def merchant_webhooks(visit: Given[Visit]) -> Html:
    """Show the merchant's endpoints, and the newest events with their deliveries."""
    tenant, reading = visit.merchant_signed_in.tenant, visit.site.parts.merchant_reading
    endpoints, deliveries = await asyncio.gather(reading.endpoints(tenant), reading.deliveries(tenant, _PAGE))
    return visit.page("merchant_webhooks.html", endpoints=endpoints, deliveries=deliveries)


@get("/merchant/keys")
async def merchant_keys(visit: Given[Visit]) -> Html:
    """List the merchant's API keys of this mode."""
    session = visit.merchant_signed_in
    keys = await visit.site.parts.merchant_reading.keys(session.tenant)
    return visit.page("merchant_keys.html", keys=keys, own=session.key_id)


@get("/merchant/log")
async def merchant_log(visit: Given[Visit]) -> Html:
    """List the newest requests that made orders."""
    found = await visit.site.parts.merchant_reading.requests(visit.merchant_signed_in.tenant, 100)
    rows = [{**one, "route": route_of(one["scope"]) if one["scope"] else None} for one in found]
    return visit.page("merchant_log.html", rows=rows)


MERCHANT_PAGES = (
    merchant_sign_in_form,
    merchant_sign_in,
    merchant_sign_out,
    merchant_orders,
    merchant_order,
    merchant_webhooks,
    merchant_keys,
    merchant_log,
)
