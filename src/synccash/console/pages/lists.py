"""Pages with lists: rails, webhooks, limits, reconciliations, merchants, keys, operators, approvals, the
audit log and the settings in force."""

import asyncio
from typing import Any

from litestar import get
from litestar.di import NamedDependency as Given

from synccash.console.management_calls import CallRefusedError
from synccash.console.rendering import link
from synccash.console.visit import Html, PathText, Visit
from synccash.payments.access import OperatorRole
from synccash.payments.reconciliation import ADVICE

_AUDIT_PAGE = 100
_BLOCKED_MAX = 200
_RUNS = 100
_FINDINGS = 1_000
_NO_ENTRY = 2**53
"""A position above those of all entries: an export from there has the newest seal alone."""
_AUDIT_FILTERS = ("actor", "action", "target")


@get("/rails")
async def rails(visit: Given[Visit]) -> Html:
    """Show each rail's breakers, health and float."""
    breakers, health, floats = await asyncio.gather(
        visit.api("GET", "resilience", "circuit-breakers"),
        visit.api("GET", "resilience", "health"),
        visit.api("GET", "resilience", "floats"),
    )
    return visit.page("rails.html", breakers=breakers["data"], health=health, floats=floats["data"])


@get("/webhooks")
async def webhooks(visit: Given[Visit]) -> Html:
    """Show the merchants' webhook endpoints, and deliveries that wait."""
    session = visit.signed_in
    del session
    reading = visit.site.parts.reading
    endpoints, undelivered = await asyncio.gather(reading.endpoints(), reading.undelivered(50))
    return visit.page("webhooks.html", endpoints=endpoints, undelivered=undelivered)


@get("/limits")
async def limits(visit: Given[Visit]) -> Html:
    """Show the keys that rate limits block now."""
    found = await visit.api("GET", "resilience", "rate-limits", query={"limit": _BLOCKED_MAX})
    return visit.page("limits.html", keys=found["data"], degraded=found["degraded"], most=_BLOCKED_MAX)


@get("/reconciliations")
async def reconciliations(visit: Given[Visit]) -> Html:
    """List the latest comparisons with rails' statements."""
    found = await visit.api("GET", "admin", "reconciliations", query={"limit": _RUNS})
    return visit.page("reconciliations.html", runs=found["data"])


@get("/reconciliations/{run_id:str}")
async def reconciliation(visit: Given[Visit], run_id: PathText) -> Html:
    """Show one comparison with its differences, and what to do about each kind."""
    run = await visit.api("GET", "admin", "reconciliations", run_id)
    advice = {verdict.value: text for verdict, text in ADVICE.items() if run["counts"].get(verdict.value)}
    return visit.page("reconciliation.html", run=run, advice=advice, most=_FINDINGS)


@get("/merchants")
async def merchants(visit: Given[Visit]) -> Html:
    """List the merchants with their balances."""
    found, balances = await asyncio.gather(
        visit.api("GET", "admin", "merchants"), visit.api("GET", "admin", "balances")
    )
    by_merchant: dict[str, list[dict[str, Any]]] = {}
    for one in balances["data"]:
        by_merchant.setdefault(one["merchant_id"], []).append(one)
    return visit.page("merchants.html", merchants=found["data"], balances=by_merchant)


@get("/keys")
async def keys(visit: Given[Visit]) -> Html:
    """List the API keys without their secrets."""
    found = (await visit.api("GET", "admin", "api-keys"))["data"]
    merchant = visit.query("merchant")
    shown = [one for one in found if merchant in (None, one["merchant_id"])]
    return visit.page("keys.html", keys=shown, merchant=merchant)


@get("/operators")
async def operators(visit: Given[Visit]) -> Html:
    """List the operators, and the tokens of the one who is signed in."""
    found, tokens = await asyncio.gather(
        visit.api("GET", "operators"), visit.api("GET", "operators", "tokens")
    )
    return visit.page("operators.html", operators=found["data"], tokens=tokens["data"])


@get("/approvals")
async def approvals(visit: Given[Visit]) -> Html:
    """List actions that wait for a second operator, and former ones."""
    found = (await visit.api("GET", "approvals", query={"limit": 100}))["data"]
    return visit.page("approvals.html", approvals=found)


@get("/audit")
async def audit(visit: Given[Visit]) -> Html:
    """Show the audit log, newest first."""
    filters = {name: visit.query(name) for name in _AUDIT_FILTERS}
    query = {**filters, "limit": _AUDIT_PAGE, "before": visit.query("before")}
    found, sealed = await asyncio.gather(
        visit.api("GET", "admin", "audit", query=query),
        visit.api("GET", "admin", "audit", "export", query={"after": _NO_ENTRY, "limit": 1}),
    )
    older = link("/console/audit", **filters, before=found["next"]) if found["has_more"] else None
    return visit.page("audit.html", entries=found["data"], filters=filters, older=older, head=sealed["head"])


@get("/settings")
async def settings(visit: Given[Visit]) -> Html:
    """Show the settings in force and where each comes from, to admins: risk rules are among them."""
    if not visit.signed_in.role.includes(OperatorRole.ADMIN):
        raise CallRefusedError(403, {"detail": "This page needs the role admin. Ask an admin."})
    return visit.page("settings.html", settings=visit.site.parts.settings, only=visit.query("only"))


LIST_PAGES = (
    rails,
    webhooks,
    limits,
    reconciliations,
    reconciliation,
    merchants,
    keys,
    operators,
    approvals,
    audit,
    settings,
)
