"""What waits for an operator, by reason, with what may be done about it."""

from typing import Any

from litestar import get, post
from litestar.di import NamedDependency as Given

from synccash.administration.explanations import explain_waiting
from synccash.console.actions import actions_of_waiting
from synccash.console.rendering import link
from synccash.console.visit import Html, Visit

_LIMIT = 500
QUEUES = {
    "under_review": "Under review",
    "risk_review": "Risk review",
    "surplus": "Surplus",
    "currency_differs": "Another currency",
    "parked": "Parked",
    "unreadable": "Unreadable",
}
_PARKED = frozenset({"other_account", "account_unconfirmed"})


@get("/queues")
async def queues(visit: Given[Visit]) -> Html:
    """List what waits for a decision, longest waiting first."""
    found = (await visit.api("GET", "admin", "waiting", query={"limit": _LIMIT}))["data"]
    by_queue: dict[str, list[dict[str, Any]]] = {name: [] for name in QUEUES}
    for one in found:
        by_queue[_queue_of(one)].append(one)
    chosen = visit.query("queue")
    if chosen not in QUEUES:
        chosen = next((name for name, rows in by_queue.items() if rows), "under_review")
    rows = [
        (one, explain_waiting(one), [a for a in actions_of_waiting(one) if visit.may(a.route)])
        for one in by_queue[chosen]
    ]
    return visit.page(
        "queues.html",
        queues=[(name, title, len(by_queue[name])) for name, title in QUEUES.items()],
        chosen=chosen,
        rows=rows,
        is_cut=len(found) == _LIMIT,
    )


@post("/queues/inquire")
async def inquire(visit: Given[Visit]) -> Html:
    """Have the rails asked about several orders now; it moves no money."""
    session = visit.signed_in
    del session
    marked = [one for one in visit.form.get("order", "").split(",") if one][:_LIMIT]
    body = {"reason": visit.form.get("reason", "")}
    for order_id in marked:
        await visit.api("POST", "admin", "orders", order_id, "inquire", body=body)
    visit.note(f"The rails are being asked about {len(marked)} orders." if marked else "Mark an order first.")
    return visit.redirect(link("/console/queues", queue=visit.form.get("queue")))


def _queue_of(one: dict[str, Any]) -> str:
    if one["why"] == "under_review" and one["code"] in _PARKED:
        return "parked"
    return one["why"] if one["why"] in QUEUES else "under_review"


QUEUE_PAGES = (queues, inquire)
