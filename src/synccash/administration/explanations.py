"""Explains orders in sentences: why an order is in its state, what waits for an operator, and what each entry
of a timeline means. The console and the commands show the same ones."""

from collections.abc import Callable, Mapping
from typing import Any

_Facts = Mapping[str, Any]

_STATUS: Mapping[str, str] = {
    "created": "The order is stored. No rail has answered yet.",
    "requires_action": "The payer has to do something before the rail goes on.",
    "processing": "A rail is working on it.",
    "succeeded": "The rail confirmed that the money moved.",
    "failed": "It ended without success, and nothing more is sent for it.",
    "canceled": "The merchant canceled it before money could move.",
}
_DETAIL: Mapping[str, str] = {
    "awaiting_payer": "The rail has asked the payer, who has not answered yet.",
    "outcome_unknown": "A rail was called and did not say what came of it. It is asked again until it does; "
    "nothing is sent to another rail meanwhile, because the payer could be charged twice.",
    "under_review": "The outcome cannot be established by asking the rail, or its answers contradict each "
    "other. An operator has to find out at the rail and resolve the order.",
    "risk_review": "A risk rule or the fraud service held it before anything was sent. An operator has to "
    "approve or decline it.",
    "queued": "No rail can take it now. It is tried again until it expires.",
    "expired": "No rail took it before it expired. No money moved.",
}
_WAITING: Mapping[str, str] = {
    **_DETAIL,
    "surplus": "More money arrived than the payment asked for, or money arrived for a payment that had "
    "ended. It belongs to the payer: return it.",
    "currency_differs": "Money arrived in another currency than the payment's. No refund can return it; "
    "settle it with the rail.",
    "unreadable": "This version cannot read the stored order. Run the newest version that works on this "
    "database.",
}
_PARKED: Mapping[str, str] = {
    "other_account": "The order was sent with credentials that are no longer configured, so its rail cannot "
    "be asked. Configure them again as the former ones, or resolve the order.",
    "account_unconfirmed": "The credentials of the rail's account have changed and are not confirmed, so it "
    "is not asked. Confirm them with `synccash rails confirm`.",
    "reversed": "The rail took back the debit that this refund would return. Find out at the rail, and "
    "resolve it.",
}
_EVIDENCE: Mapping[str, str] = {
    "not_sent": "the request never left, so no money can have moved",
    "refused_later": "the rail refused it for now, so no money can have moved",
    "refused_final": "the rail refused it for good, so no money can have moved",
    "ambiguous": "no clear answer came, so money may have moved",
    "accepted": "the rail accepted it",
}
_STANDING: Mapping[str, str] = {
    "pending": "it is still under way",
    "succeeded": "it succeeded",
    "failed": "it failed",
    "not_found": "it does not know it",
    "no_information": "it gave no usable answer",
    "reversed": "it took the money back",
}


def explain_status(order: _Facts) -> str:
    """Return why an order, as the API shows it, is in its state."""
    error: _Facts = order.get("last_error") or {}
    detail, status = order.get("status_detail"), str(order["status"])
    told = _DETAIL.get(str(detail), _STATUS.get(status, "")) if detail else _STATUS.get(status, "")
    if error.get("message") and status in ("failed", "processing") and detail != "expired":
        code = f" The rail's code: {error['provider_code']}." if error.get("provider_code") else ""
        return f"{told} {error['message']}{code}"
    return told


def explain_waiting(one: _Facts) -> str:
    """Return why an entry of the list of what waits is there, and what to do."""
    return _PARKED.get(str(one.get("code")), _WAITING.get(str(one["why"]), "An operator has to decide."))


_CONTRADICTIONS: Mapping[str, str] = {
    "second_success": "A second attempt succeeded too, so the payer was debited twice. Return the surplus.",
    "late_success": "A rail reported money for an order that had ended without it. Return the surplus of a "
    "payment.",
    "reversed": "The rail took back money that it had reported as moved. Ask the rail why, and settle it "
    "with the merchant.",
    "found_twice": "More than one attempt that the database had lost was found at the rails. Compare them "
    "with the rails' statements.",
    "amount_differs": "The rail moved another amount than was asked for. Resolve the order with what its "
    "statement says.",
    "currency_differs": "The rail moved money in another currency. Settle it with the rail; no refund can "
    "return it.",
}


def explain_contradiction(one: _Facts) -> str:
    """Return what a contradiction means, and what to do before it is closed."""
    told = _CONTRADICTIONS.get(str(one["contradiction"]), "The rail contradicted what it had said before.")
    return f"{told} Close it when that is done."


_ATTEMPT: Mapping[str, str] = {
    "prepared": "It is stored and may have been sent; no result is known yet.",
    "acknowledged": "The rail accepted it and has not told the outcome yet.",
    "succeeded": "The rail confirmed that the money moved.",
    "declined": "The rail refused it, so no money moved.",
    "not_sent": "It never reached the rail, so no money moved.",
    "unknown": "The rail gave no clear answer, so money may have moved. It is asked until it tells.",
}


def explain_attempt(attempt: _Facts) -> str:
    """Return why an attempt, as the API shows it, is in its state, and what was done next."""
    told = _ATTEMPT.get(str(attempt["state"]), "")
    error: _Facts = attempt.get("error") or {}
    cause = f" {error['message']}" if error.get("message") else ""
    decision = attempt.get("retry_decision")
    then = f" Then: {str(decision).replace('_', ' ')}." if decision else ""
    return f"{told}{cause}{then}"


def explain_delivery(one: _Facts) -> str:
    """Return why the delivery of an event is in its state."""
    if one["endpoint_id"] is None:
        return "No endpoint of the merchant takes this type of event, or none was enabled when it happened."
    if one["delivered_at"]:
        return f"The endpoint answered {one['last_status']}."
    last = one["last_error"] or (f"it answered {one['last_status']}" if one["last_status"] else None)
    failed = f" The last try failed: {last}." if last and one["tries"] else ""
    if one["endpoint_status"] != "enabled":
        return f"The endpoint is {one['endpoint_status']}, so nothing is sent to it.{failed}"
    if not one["is_due"]:
        return f"It was given up after {one['tries']} tries.{failed} Send it again when the endpoint works."
    tried = f"It was tried {one['tries']} times and is sent again." if one["tries"] else "It is sent soon."
    return f"{tried}{failed}"


def explain_evidence(evidence: str | None) -> str:
    """Return what the result of a send proves about money."""
    return _EVIDENCE.get(str(evidence), "nothing is known yet")


def sentence_of(entry: _Facts) -> str:
    """Return an entry of a timeline, as the API shows it, as a sentence."""
    write = _SENTENCES.get(str(entry["kind"]))
    return _any(entry) if write is None else write(entry)


def _amount(value: object) -> str:
    return f"GHS {value / 100:,.2f}" if isinstance(value, int) else str(value)


def _listed(value: object) -> str:
    items: list[Any] = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return ", ".join(str(item).replace("_", " ") for item in items if item)


def _code(entry: _Facts) -> str:
    return f" Its code: {entry['code']}." if entry.get("code") else ""


def _created(entry: _Facts) -> str:
    return f"The order over {_amount(entry.get('amount'))} was accepted and stored."


def _routed(entry: _Facts) -> str:
    chosen = entry.get("chosen")
    considered: list[_Facts] = entry.get("considered") or []
    skipped = [f"{one.get('rail')} ({_listed(one['skipped'])})" for one in considered if one.get("skipped")]
    told = f"{chosen} was chosen" if chosen else "No rail can take it"
    why = f": {str(entry['reason']).replace('_', ' ')}" if entry.get("reason") else ""
    left_out = f". Not chosen: {', '.join(skipped)}" if skipped else ""
    return f"{told}{why}{left_out}."


def _sent(entry: _Facts) -> str:
    tries = entry.get("tries") or 1
    often = "" if tries == 1 else f" {tries} times"
    return (
        f"It was sent to {entry.get('rail')}{often}: {explain_evidence(entry.get('evidence'))}.{_code(entry)}"
    )


def _answered(entry: _Facts) -> str:
    standing = _STANDING.get(str(entry.get("standing")), str(entry.get("standing")))
    return f"The rail said that {standing}.{_code(entry)}"


def _inquired(entry: _Facts) -> str:
    standing = _STANDING.get(str(entry.get("standing")), str(entry.get("standing")))
    return f"The rail was asked: {standing}.{_code(entry)}"


def _queued(entry: _Facts) -> str:
    wait_s = entry.get("wait_s")
    again = f" It is tried again in {wait_s:.0f} s." if isinstance(wait_s, int | float) else ""
    why = ": the account at the rail holds too little money" if entry.get("reason") == "float_too_low" else ""
    return f"No rail could take it now{why}.{again}"


def _risk(entry: _Facts) -> str:
    reasons = _listed(entry.get("reasons"))
    return f"The risk rules said {entry.get('outcome')}" + (f": {reasons}." if reasons else ".")


def _screened(entry: _Facts) -> str:
    reasons = _listed(entry.get("reasons"))
    return f"The fraud service said {entry.get('outcome')}" + (f": {reasons}." if reasons else ".")


def _contradiction(entry: _Facts) -> str:
    rail = entry.get("rail") or "the rail"
    if entry.get("standing") == "reversed":
        return f"{rail} took back money that it had reported as moved.{_code(entry)}"
    received = entry.get("received") or entry.get("reported")
    return (
        f"{rail} reported money that contradicts what it said before: {_amount(received)} arrived. An "
        "operator has to look at it, or the surplus is refunded."
    )


def _differs(what: str) -> Callable[[_Facts], str]:
    def write(entry: _Facts) -> str:
        return (
            f"The rail reported another {what}: {entry.get('currency')} {_amount(entry.get('reported'))[4:]} "
            f"where {_amount(entry.get('asked'))} was asked for. An operator has to decide."
        )

    return write


def _by(verb: str) -> Callable[[_Facts], str]:
    def write(entry: _Facts) -> str:
        if not entry.get("by"):
            return f"An operator {verb}."  # as a merchant sees it
        return f"{entry['by']} {verb}: {entry.get('reason')}."

    return write


def _refund(entry: _Facts) -> str:
    by = f" by {entry['by']}" if entry.get("by") else ""
    return f"A refund over {_amount(entry.get('amount'))} was opened{by} as {entry.get('refund')}."


def _parked(entry: _Facts) -> str:
    return (
        f"It waits and nothing is sent. {_PARKED.get(str(entry.get('code')), 'No rail can be asked safely.')}"
    )


def _any(entry: _Facts) -> str:
    facts = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in entry.items()
        if name not in ("at", "kind") and value not in (None, "", [], {})
    ]
    title = str(entry["kind"]).replace("_", " ")
    return f"{title}: {', '.join(facts)}." if facts else f"{title}."


def _says(text: str) -> Callable[[_Facts], str]:
    return lambda _entry: text


_SENTENCES: Mapping[str, Callable[[_Facts], str]] = {
    "created": _created,
    "routed": _routed,
    "sent": _sent,
    "rail_answered": _answered,
    "inquired": _inquired,
    "queued": _queued,
    "risk_assessed": _risk,
    "screened": _screened,
    "contradiction": _contradiction,
    "amount_differs": _differs("amount"),
    "currency_differs": _differs("currency"),
    "approved": _by("approved it"),
    "declined": _by("declined it"),
    "resolved": _by("resolved it"),
    "refund_created": _refund,
    "parked": _parked,
    "sent_again": lambda entry: f"It was sent again under the same reference (send {entry.get('send')}).",
    "otp_submitted": _says("The payer's one-time password was sent to the rail."),
    "otp_answered": _answered,
    "expired": _says("It expired before a rail took it. No money moved."),
    "canceled": _says("The merchant canceled it before money could move."),
    "held": _says("It waits for the end of a recovery of the database, and nothing is sent."),
    "searched": _says("After a recovery, the rails were asked for attempts that the database may have lost."),
    "adopted": lambda entry: (
        f"After a recovery, an attempt that the database had lost was found at {entry.get('rail')}: "
        f"{_STANDING.get(str(entry.get('standing')), entry.get('standing'))}."
    ),
}
