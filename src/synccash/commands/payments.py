"""`synccash payments`: find them, look at one, and decide what a human has to decide."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from synccash.commands.terminal import money, print_facts, print_json, print_table, settings

PAYMENTS = App(name="payments", help="Payments of all merchants; `show` also takes refunds and payouts.")
Status = Literal["created", "requires_action", "processing", "succeeded", "failed", "canceled"]
Detail = Literal["awaiting_payer", "outcome_unknown", "under_review", "risk_review", "queued", "expired"]
Url = Annotated[str | None, Parameter(help="Where the API is; this machine's by default.")]
Reason = Annotated[str, Parameter(help="Why; it goes into the timeline.")]
_RESOURCES = {"pay": "payments", "re": "refunds", "po": "payouts"}
_UNTOLD = frozenset(
    {"timeline", "attempts", "refunds", "routing", "metadata", "payer", "payee", "last_error", "object"}
)


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
    json: bool = False,
) -> int:
    """Payments, newest first.

    Parameters
    ----------
    merchant
        Only this merchant's.
    status
        Only those that stand so.
    detail
        Only those whose status_detail is this, such as under_review.
    rail
        Only those whose last attempt went over this rail.
    reference
        Only those with this reference of a merchant.
    payer
        Only those of this number.
    after
        Go on behind the payment with this id.
    limit
        At most so many.
    json
        One JSON document, as the API's lists are.
    """
    page = _listed(
        "payments",
        merchant=merchant,
        status=status,
        detail=detail,
        rail=rail,
        reference=reference,
        wallet=payer,
        after=after,
        limit=limit,
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
    json: bool = False,
) -> int:
    """Payouts, newest first; the options are those of `list`."""
    page = _listed(
        "payouts",
        merchant=merchant,
        status=status,
        detail=detail,
        rail=rail,
        reference=reference,
        wallet=payee,
        after=after,
        limit=limit,
    )
    return _print_page(page, "payout", "payee", as_json=json)


def _listed(
    kind: Literal["payments", "payouts"], *, status: str | None, detail: str | None, **wanted: Any
) -> dict[str, Any]:
    from synccash.administration.payments import list_orders
    from synccash.payments.payment import PaymentStatus, StatusDetail

    return list_orders(
        settings(),
        kind,
        status=PaymentStatus(status) if status else None,
        detail=StatusDetail(detail) if detail else None,
        **wanted,
    )


def _print_page(page: dict[str, Any], kind: str, who: str, *, as_json: bool) -> int:
    from synccash.payments.payer import Msisdn

    if as_json:
        return print_json(page)
    rows = [
        (
            one["id"],
            one["created_at"],
            money(one["amount"]),
            money(one["amount_refunded"]) if one.get("amount_refunded") else None,
            one["status"],
            one["status_detail"],
            one["rail"],
            Msisdn(one[f"{who}_msisdn"]),
            one["reference"],
            one["merchant_id"],
            "live" if one["livemode"] else "test",
        )
        for one in page["data"]
    ]
    found = ("id", "created", "GHS", "refunded", "status", "detail", "rail")
    code = print_table(
        (*found, who, "reference", "merchant", "mode"), rows, nothing=f"no {kind} is like that"
    )
    if page["has_more"]:
        print(f"more: --after {page['next']}")
    return code


@PAYMENTS.command
def waiting(*, limit: int = 50, json: bool = False) -> int:
    """What waits for a human, the longest first: payments, refunds and payouts under review, payments and
    payouts in risk review, rows that cannot be read (`unreadable`), money that came too much and is still
    here (`surplus`), and money that came in another currency for an ended payment (`currency_differs`).

    `code`: what the rail said last, or why it is not asked: `other_account` and `account_unconfirmed` are
    orders of credentials that are not set up any more, or not confirmed (`synccash rails list`).
    `next look`: when the rail is asked again by itself.
    """
    from synccash.administration.payments import list_waiting

    found = list_waiting(settings(), limit=limit)
    if json:
        return print_json({"data": found})
    rows = [
        (
            one["id"],
            one["why"],
            one["code"],
            one["since"],
            money(one["amount"]),
            one["rail"],
            one["next_look_at"],
            one["merchant_id"],
            "live" if one["livemode"] else "test",
        )
        for one in found
    ]
    titles = ("id", "why", "code", "since", "GHS", "rail", "next look", "merchant", "mode")
    return print_table(titles, rows, nothing="nobody is waited for")


@PAYMENTS.command
def show(order_id: str, /, *, json: bool = False) -> int:
    """One payment, refund or payout with its attempts and its timeline."""
    from synccash.administration.payments import show_order

    found = show_order(settings(), order_id)
    if json:
        return print_json(found)
    wallet: dict[str, Any] = found.get("payer") or found.get("payee") or {}
    error: dict[str, Any] = found["last_error"] or {}
    facts = {name: value for name, value in found.items() if name not in _UNTOLD}
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
    print_table(titles, attempts, nothing="nothing was sent")
    print()
    if found.get("refunds"):
        refunds = [
            (
                one["id"],
                one["created_at"],
                money(one["amount"]),
                one["status"],
                one["status_detail"],
                one["rail"],
            )
            for one in found["refunds"]
        ]
        print_table(("refund", "created", "GHS", "status", "detail", "rail"), refunds, nothing="")
        print()
    entries = [(one["at"], one["kind"], _spoken(one)) for one in found["timeline"]]
    return print_table(("at", "what", "facts"), entries, nothing="the timeline is empty")


@PAYMENTS.command
def approve(order_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Let a payment or payout in risk review go on."""
    return _decided(order_id, "approve", {"reason": reason}, url, as_json=json)


@PAYMENTS.command
def decline(order_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """End a payment or payout in risk review."""
    return _decided(order_id, "decline", {"reason": reason}, url, as_json=json)


@PAYMENTS.command
def resolve(
    order_id: str,
    /,
    *,
    outcome: Literal["succeeded", "failed"],
    evidence: Annotated[str, Parameter(help="Where it was seen, such as a line of the rail's statement.")],
    amount_received: Annotated[
        int | None,
        Parameter(help="Of a payment: the pesewas that the rail took, where it was another amount."),
    ] = None,
    rail: Annotated[
        str | None,
        Parameter(help="After a recovery: the rail of an attempt that succeeded and that the database lost."),
    ] = None,
    url: Url = None,
    json: bool = False,
) -> int:
    """End a payment, refund or payout under review as it was found at the rail.

    A wrong `failed` is the one way to have somebody pay twice.
    """
    body: dict[str, Any] = {"outcome": outcome, "evidence": evidence}
    if amount_received is not None:
        body["amount_received"] = amount_received
    if rail is not None:
        body["rail"] = rail
    return _decided(order_id, "resolve", body, url, as_json=json)


@PAYMENTS.command
def return_surplus(payment_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Give back what was taken beyond a payment, each debit once; where that failed for good, once more."""
    from synccash.administration.api import management_api

    made = management_api(settings(), url).post(
        "payments", payment_id, "return-surplus", body={"reason": reason}
    )
    if json:
        return print_json(made)
    rows = [(one["id"], one["rail"], money(one["amount"]), one["status"]) for one in made["data"]]
    return print_table(("refund", "rail", "GHS", "status"), rows, nothing="nothing was returned")


def _decided(order_id: str, deed: str, body: dict[str, Any], url: str | None, *, as_json: bool) -> int:
    from synccash.administration.api import management_api

    resource = _RESOURCES.get(order_id.partition("_")[0], "payments")
    after = management_api(settings(), url).post(resource, order_id, deed, body=body)
    if as_json:
        return print_json(after)
    return print_facts({name: after[name] for name in ("id", "status", "status_detail")})


def _spoken(entry: dict[str, Any]) -> str:
    facts = {name: value for name, value in entry.items() if name not in ("at", "kind")}
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, "", [], {}))
