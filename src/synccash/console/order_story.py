"""Puts what happened about one order into one list: API calls, decisions, rail calls, webhooks. Pure."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from synccash.administration.explanations import sentence_of

_LANES: Mapping[str, str] = {
    "sent": "rail",
    "sent_again": "rail",
    "rail_answered": "rail",
    "inquired": "rail",
    "otp_submitted": "rail",
    "otp_answered": "rail",
    "adopted": "rail",
    "contradiction": "rail",
    "amount_differs": "rail",
    "currency_differs": "rail",
    "approved": "operator",
    "declined": "operator",
    "resolved": "operator",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `lane`: api, engine, rail, operator or webhook."""

    at: datetime
    lane: str
    text: str
    note: str = ""


def story_of(
    order: Mapping[str, Any],
    refunds: Sequence[Mapping[str, Any]],
    calls: Iterable[Mapping[str, Any]],
    deliveries: Iterable[Mapping[str, Any]],
) -> list[Step]:
    """Return what happened about an order, oldest first. `calls` are the stored answers of the requests that
    made it and its refunds."""
    answered = {call["order_id"]: call for call in calls}
    steps = [_made_by(one, answered.get(one["id"])) for one in (order, *refunds)]
    steps += [_entry(one) for one in order["timeline"]]
    steps += [step for one in deliveries for step in _delivery(one)]
    return sorted(steps, key=lambda step: step.at)


def _made_by(order: Mapping[str, Any], call: Mapping[str, Any] | None) -> Step:
    route = "A request" if call is None else route_of(call["scope"])
    answer = ""
    if call is not None:
        took = "" if call["completed_at"] is None else _took(call["created_at"], call["completed_at"])
        answer = f": answered {call['status']}{took}" if call["status"] else ": not answered yet"
    note = " ".join(filter(None, (order.get("api_key_id"), order.get("request_id"))))
    return Step(_time(order["created_at"]), "api", f"{route} made {order['id']}{answer}.", note)


def route_of(scope: str) -> str:
    """Return the method and path of the scope of a claim, which begins with the merchant and mode."""
    caller, _, path = scope.partition(":/")
    return f"{caller.rpartition(':')[2]} /{path}" if path else "A request"


def _took(start: datetime, end: datetime) -> str:
    return f" after {(end - start).total_seconds() * 1_000:.0f} ms"


def _entry(entry: Mapping[str, Any]) -> Step:
    return Step(_time(entry["at"]), _LANES.get(entry["kind"], "engine"), sentence_of(entry))


def _delivery(one: Mapping[str, Any]) -> Iterable[Step]:
    yield Step(one["created_at"], "webhook", f"The event {one['type']} was stored.", one["id"])
    if one["delivered_at"]:
        text = f"{one['host']} took {one['type']}: it answered {one['last_status']}."
        yield Step(one["delivered_at"], "webhook", text, one["id"])


def _time(at: str | datetime) -> datetime:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def curl_commands(public_url: str, order: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return commands by what they do, as the order's merchant runs them: without the number, which the
    merchant puts in."""
    base, kind = f"{public_url.rstrip('/')}/api/v1", order["object"]
    read = f'curl -H "Authorization: Bearer $SYNCCASH_KEY" {base}/{kind}s/{order["id"]}'
    commands = [("Read it", read)]
    if kind == "payment":
        commands.append(("Read its timeline", f"{read}/timeline"))
    if kind != "refund":
        wallet = {"payment": "payer", "payout": "payee"}[kind]
        body = {"amount": order["amount"], "currency": order["currency"], wallet: {"msisdn": "0XXXXXXXXX"}}
        body["reference"] = f"{order['reference'] or 'order'}-again"
        send = 'curl -X POST -H "Authorization: Bearer $SYNCCASH_KEY" -H "Idempotency-Key: $(uuidgen)" '
        content = shlex.quote(json.dumps(body, ensure_ascii=False))
        commands.append(
            ("Make another one", f'{send}-H "Content-Type: application/json" -d {content} {base}/{kind}s')
        )
    return commands
