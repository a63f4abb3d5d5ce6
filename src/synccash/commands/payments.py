"""`synccash payments`: lists and shows payments, refunds and payouts, and resolves those under review."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from synccash.commands.layout import wrapped_lines
from synccash.commands.terminal import (
    is_waiting,
    money,
    print_facts,
    print_json,
    print_table,
    print_waiting,
    settings,
    terminal_width,
)

PAYMENTS = App(name="payments", help="Payments of all merchants; `show` also takes refunds and payouts.")
Status = Literal["created", "requires_action", "processing", "succeeded", "failed", "canceled"]
Detail = Literal["awaiting_payer", "outcome_unknown", "under_review", "risk_review", "queued", "expired"]
Url = Annotated[str | None, Parameter(help="URL of the API; by default the one on this machine.")]
Reason = Annotated[str, Parameter(help="The reason, recorded in the timeline.")]
_RESOURCES = {"pay": "payments", "re": "refunds", "po": "payouts"}
_HIDDEN_FIELDS = frozenset(
    {"timeline", "attempts", "refunds", "routing", "metadata", "payer", "payee", "last_error", "object"}
)
_DECISIONS: Mapping[str, str] = {
    "under_review": "resolve ID --outcome succeeded|failed --evidence TEXT",
    "risk_review": "approve|decline ID --reason TEXT",
    "surplus": "return-surplus ID --reason TEXT",
}
"""The command that decides about an entry of `waiting`."""
_AMOUNTS = ("amount", "amount_received", "amount_refunded")


@PAYMENTS.command(name="list")
def list_payments(
    *,
    merchant: str | None = None,
    status: Status | None = None,
    detail: Detail | None = None,
    rail: str | None = None,
    reference: str | None = None,
    payer: str | None = None,
    after: str | None = None,
    limit: int = 20,
    url: Url = None,
    json: bool = False,
) -> int:
    """List payments, newest first.

    Parameters
    ----------
    merchant
        Only this merchant's.
    status
        Only those with this status.
    detail
        Only those with this status_detail, such as under_review.
    rail
        Only those whose last attempt used this rail.
    reference
        Only those with this merchant reference.
    payer
        Only those from this phone number.
    after
        Continue after the payment with this id.
    limit
        The maximum number of payments.
    url
        URL of the API; by default SYNCCASH_API_URL, or this machine's.
    json
        Print one JSON document, in the format of the API's lists.
    """
    page = _list_orders(
        "payments",
        merchant=merchant,
        status=status,
        detail=detail,
        rail=rail,
        reference=reference,
        wallet=payer,
        after=after,
        limit=limit,
        url=url,
    )
    return _print_page(page, "payment", "payer", as_json=json)


@PAYMENTS.command(name="payouts")
def list_payouts(
    *,
    merchant: str | None = None,
    status: Literal["processing", "succeeded", "failed"] | None = None,
    detail: Literal["outcome_unknown", "under_review", "risk_review", "queued", "expired"] | None = None,
    rail: str | None = None,
    reference: str | None = None,
    payee: str | None = None,
    after: str | None = None,
    limit: int = 20,
    url: Url = None,
    json: bool = False,
) -> int:
    """List payouts, newest first. Takes the options of `list`, with --payee in place of --payer."""
    page = _list_orders(
        "payouts",
        merchant=merchant,
        status=status,
        detail=detail,
        rail=rail,
        reference=reference,
        wallet=payee,
        after=after,
        limit=limit,
        url=url,
    )
    return _print_page(page, "payout", "payee", as_json=json)


def _list_orders(
    kind: Literal["payments", "payouts"],
    *,
    status: str | None,
    detail: str | None,
    url: str | None,
    **filters: Any,
) -> dict[str, Any]:
    from synccash.administration.administrator import administrator
    from synccash.administration.payments import order_filter
    from synccash.payments.payment import PaymentStatus, StatusDetail

    where = order_filter(
        kind,
        status=PaymentStatus(status) if status else None,
        detail=StatusDetail(detail) if detail else None,
        **filters,
    )
    return administrator(settings(), url).orders(where)


def _print_page(page: dict[str, Any], kind: str, party: str, *, as_json: bool) -> int:
    from synccash.payments.payer import Msisdn

    if as_json:
        return print_json(page)
    rows = [
        (
            one["id"],
            one["created_at"],
            _amount(one, "amount"),
            _amount(one, "amount_refunded") if one.get("amount_refunded") else None,
            one["status"],
            one["status_detail"],
            one["rail"],
            Msisdn(wallet) if (wallet := one[f"{party}_msisdn"]) else None,
            one["reference"],
            one["merchant_id"],
            "live" if one["livemode"] else "test",
        )
        for one in page["data"]
    ]
    titles = ("id", "created", "amount", "refunded", "status", "detail", "rail", party)
    code = print_table((*titles, "reference", "merchant", "mode"), rows, nothing=f"No {kind}s match.")
    if page["has_more"]:
        print(f"There are more: repeat with --after {page['next']}")
    return code


@PAYMENTS.command
def waiting(*, limit: int = 50, url: Url = None, json: bool = False) -> int:
    """List what an operator has to decide, longest waiting first: payments, refunds and payouts under review,
    payments and payouts in risk review, rows that cannot be read (`unreadable`), excess money that was not
    returned yet (`surplus`), and money received in another currency for an ended payment
    (`currency_differs`).

    `code`: the rail's last code, or why the rail is not asked: `other_account` (the order's credentials are
    no longer configured) or `account_unconfirmed` (they are not confirmed); see `synccash rails list`.
    `next inquiry`: when the service asks the rail again.
    """
    from synccash.administration.administrator import administrator
    from synccash.administration.payments import check_limit

    check_limit(limit)
    found = list(administrator(settings(), url).waiting(limit))
    if json:
        return print_json({"data": found})
    rows = [
        (
            one["id"],
            one["why"],
            one["code"],
            one["since"],
            _amount(one, "amount"),
            one["rail"],
            one["next_look_at"],
            one["merchant_id"],
            "live" if one["livemode"] else "test",
        )
        for one in found
    ]
    titles = ("id", "why", "code", "since", "amount", "rail", "next inquiry", "merchant", "mode")
    code = print_table(titles, rows, nothing="Nothing is waiting for review.")
    for text in _next_steps(found):
        print(f"\n{text}")
    return code


@PAYMENTS.command
def contradictions(*, limit: int = 50, url: Url = None, json: bool = False) -> int:
    """List what rails reported against their former answers, oldest first, until an operator closes it."""
    from synccash.administration.administrator import administrator
    from synccash.administration.explanations import explain_contradiction
    from synccash.administration.payments import check_limit

    check_limit(limit)
    found = list(administrator(settings(), url).contradictions(limit))
    if json:
        return print_json({"data": found})
    rows = [
        (
            one["id"],
            one["contradiction"],
            one["since"],
            _amount(one, "amount"),
            one["status"],
            one["rail"],
            one["merchant_id"],
            "live" if one["livemode"] else "test",
        )
        for one in found
    ]
    titles = ("id", "contradiction", "since", "amount", "status", "rail", "merchant", "mode")
    code = print_table(titles, rows, nothing="No rail has contradicted itself.")
    told = dict.fromkeys((one["contradiction"], explain_contradiction(one)) for one in found)
    for kind, sentence in told:
        print("\n" + "\n".join(wrapped_lines(f"{kind}: {sentence}", terminal_width(), "  ")))
        print("  synccash payments show ID\n  synccash payments close-contradictions ID --reason TEXT")
    return code


@PAYMENTS.command
def close_contradictions(
    order_id: str,
    /,
    *,
    reason: Annotated[str, Parameter(help="The reason, recorded in the audit log.")],
    url: Url = None,
    json: bool = False,
) -> int:
    """Take a payment, refund or payout off the list of contradictions. It moves no money: before, return a
    surplus, or settle it with the rail."""
    from synccash.administration.administrator import administrator

    closed = administrator(settings(), url).close_contradictions(order_id, reason)
    return print_json(closed) if json else print_facts(closed)


def _next_steps(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield what to do about each kind of entry, once."""
    from synccash.administration.explanations import explain_waiting

    for why, sentence in dict.fromkeys((one["why"], explain_waiting(one)) for one in found):
        decision = _DECISIONS.get(why)
        commands = () if decision is None else ("synccash payments show ID", f"synccash payments {decision}")
        text = wrapped_lines(f"{why}: {sentence}", terminal_width(), "  ")
        yield "\n".join((*text, *(f"  {command}" for command in commands)))


@PAYMENTS.command
def show(order_id: str, /, *, url: Url = None, json: bool = False) -> int:
    """Show one payment, refund or payout with its attempts and timeline."""
    from synccash.administration.administrator import administrator
    from synccash.administration.explanations import explain_status, sentence_of

    found = administrator(settings(), url).order(order_id)
    if json:
        return print_json(found)
    wallet: dict[str, Any] = found.get("payer") or found.get("payee") or {}
    error: dict[str, Any] = found["last_error"] or {}
    facts = {name: value for name, value in found.items() if name not in _HIDDEN_FIELDS}
    facts["why"] = explain_status(found)
    facts |= {name: _amount(found, name) for name in _AMOUNTS if found.get(name) is not None}
    facts["wallet"] = " ".join(str(part) for part in wallet.values() if part)
    facts["error"] = " ".join(
        str(error[name]) for name in ("code", "provider_code", "message") if error.get(name)
    )
    print_facts(facts)
    print()
    attempts = [
        (
            one["id"],
            one["rail"],
            one["operation"],
            one["state"],
            one["evidence"],
            one["provider_code"],
            one["reference"],
        )
        for one in found["attempts"]
    ]
    titles = ("attempt", "rail", "operation", "state", "evidence", "code", "reference")
    print_table(titles, attempts, nothing="No attempts: nothing was sent to a rail.")
    print()
    if found.get("refunds"):
        refunds = [
            (
                one["id"],
                one["created_at"],
                _amount(one, "amount"),
                one["status"],
                one["status_detail"],
                one["rail"],
            )
            for one in found["refunds"]
        ]
        print_table(("refund", "created", "amount", "status", "detail", "rail"), refunds, nothing="")
        print()
    entries = [(one["at"], one["kind"], sentence_of(one)) for one in found["timeline"]]
    return print_table(("at", "what", "in words"), entries, nothing="The timeline is empty.")


@PAYMENTS.command
def approve(order_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Approve a payment or payout in risk review, so that it is sent."""
    return _decide(order_id, "approve", {"reason": reason}, url, as_json=json)


@PAYMENTS.command
def decline(order_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Decline a payment or payout in risk review. It fails, and nothing is sent."""
    return _decide(order_id, "decline", {"reason": reason}, url, as_json=json)


@PAYMENTS.command
def resolve(
    order_id: str,
    /,
    *,
    outcome: Literal["succeeded", "failed"],
    evidence: Annotated[
        str, Parameter(help="Where the outcome was found, such as a line of the rail's statement.")
    ],
    amount_received: Annotated[
        int | None,
        Parameter(help="Payments only: the pesewas that the rail collected, if the amount differs."),
    ] = None,
    rail: Annotated[
        str | None,
        Parameter(help="After a recovery: the rail of a succeeded attempt that the database lost."),
    ] = None,
    url: Url = None,
    json: bool = False,
) -> int:
    """End a payment, refund or payout under review with the outcome that you found at the rail.

    Make sure before you say `failed`: if the money did move, the payer may be charged twice.
    """
    body: dict[str, Any] = {"outcome": outcome, "evidence": evidence}
    if amount_received is not None:
        body["amount_received"] = amount_received
    if rail is not None:
        body["rail"] = rail
    return _decide(order_id, "resolve", body, url, as_json=json)


@PAYMENTS.command
def return_surplus(payment_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Refund what was collected beyond a payment. Each surplus debit is refunded once; a refund that failed
    for good is tried again."""
    from synccash.administration.api import management_api

    made = management_api(settings(), url).post(
        "payments", payment_id, "return-surplus", body={"reason": reason}
    )
    if json:
        return print_json(made)
    if is_waiting(made):
        return print_waiting(made)
    rows = [(one["id"], one["rail"], _amount(one, "amount"), one["status"]) for one in made["data"]]
    return print_table(
        ("refund", "rail", "amount", "status"),
        rows,
        nothing="No refund was made: there is no surplus to return.",
    )


def _decide(order_id: str, action: str, body: dict[str, Any], url: str | None, *, as_json: bool) -> int:
    from synccash.administration.api import management_api

    resource = _RESOURCES.get(order_id.partition("_")[0], "payments")
    after = management_api(settings(), url).post(resource, order_id, action, body=body)
    if as_json:
        return print_json(after)
    if is_waiting(after):
        return print_waiting(after)
    return print_facts({name: after[name] for name in ("id", "status", "status_detail")})


def _amount(order: dict[str, Any], name: str) -> str:
    return money(order[name], order.get("currency", "GHS"))
