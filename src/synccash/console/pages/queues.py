"""What waits for an operator, by reason, with what may be done about it."""

import asyncio
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency as Given

from synccash.administration.explanations import explain_contradiction, explain_waiting
from synccash.console.actions import ActionSpec, actions_of_contradiction, actions_of_waiting
from synccash.console.rendering import link
from synccash.console.visit import Html, Visit

_LIMIT = 500
QUEUES = {
    "under_review": "Under review",
    "risk_review": "Risk review",
    "contradictions": "Contradictions",
    "surplus": "Surplus",
    "currency_differs": "Another currency",
    "parked": "Parked",
    "unreadable": "Unreadable",
}
_PARKED = frozenset({"other_account", "account_unconfirmed"})


@get("/queues")
async def queues(visit: Given[Visit]) -> Html:
    """List what waits for a decision, longest waiting first."""
    found, contradictions = await asyncio.gather(_read(visit, "waiting"), _read(visit, "contradictions"))
    by_queue: dict[str, list[dict[str, Any]]] = {name: [] for name in QUEUES}
    for one in found:
        by_queue[_queue_of(one)].append(one)
    by_queue["contradictions"] = contradictions
    chosen = visit.query("queue")
    if chosen not in QUEUES:
        chosen = next((name for name, rows in by_queue.items() if rows), "under_review")
    with_surplus = {one["id"] for one in by_queue["surplus"]}

    def row(one: dict[str, Any]) -> tuple[dict[str, Any], str, list[ActionSpec]]:
        if chosen == "contradictions":
            told = explain_contradiction(one)
            actions = actions_of_contradiction(one, has_surplus=one["id"] in with_surplus)
            one = {**one, "code": one["contradiction"], "next_look_at": None}
        else:
            told, actions = explain_waiting(one), actions_of_waiting(one)
        return one, told, [action for action in actions if visit.may(action.route)]

    return visit.page(
        "queues.html",
        queues=[(name, title, len(by_queue[name])) for name, title in QUEUES.items()],
        chosen=chosen,
        rows=[row(one) for one in by_queue[chosen]],
        is_cut=_LIMIT in (len(found), len(contradictions)),
    )


async def _read(visit: Visit, name: str) -> list[dict[str, Any]]:
    return (await visit.api("GET", "admin", name, query={"limit": _LIMIT}))["data"]


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
