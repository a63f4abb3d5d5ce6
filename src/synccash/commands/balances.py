"""`synccash balances`: shows and checks merchants' balances, and grants credit."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from synccash.administration.errors import AdministrationError
from synccash.commands.terminal import (
    is_waiting,
    money,
    print_facts,
    print_json,
    print_table,
    print_waiting,
    settings,
)

BALANCES = App(
    name="balances",
    help="Merchants' balances: what they may refund and pay out. Amounts are given in pesewas.",
)
_SHOWN = ("available", "reserved", "collected", "refunded", "paid_out", "credit", "fees")
Reason = Annotated[str, Parameter(help="The reason, recorded in the audit log.")]
Live = Annotated[bool, Parameter(negative="", help="Use the balance of live mode.")]
Test = Annotated[bool, Parameter(negative="", help="Use the balance of test mode.")]
Url = Annotated[str | None, Parameter(help="URL of the API; by default SYNCCASH_API_URL, or this machine's.")]
Currency = Annotated[str, Parameter(help="Currency code (ISO 4217).")]


@BALANCES.default
def show(merchant: str | None = None, /, *, url: Url = None, json: bool = False) -> int:
    """List all balances, or those of one merchant."""
    from synccash.administration.administrator import administrator

    found = administrator(settings(), url).balances(merchant)
    if json:
        return print_json({"data": found})
    rows = [
        (
            one["merchant_id"],
            "live" if one["livemode"] else "test",
            *(money(one[name], one["currency"]) for name in _SHOWN),
        )
        for one in found
    ]
    titles = ("merchant", "mode", *_SHOWN)
    return print_table(titles, rows, nothing="No balances yet: nothing was collected, paid out or granted.")


@BALANCES.command
def credit(
    merchant: str,
    amount: Annotated[
        int, Parameter(allow_leading_hyphen=True, help="Pesewas; a negative amount takes credit back.")
    ],
    /,
    *,
    reason: Reason,
    live: Live = False,
    test: Test = False,
    currency: Currency = "GHS",
    key: Annotated[
        str | None, Parameter(help="Idempotency key: a repeat with the same key grants nothing more.")
    ] = None,
    url: Url = None,
    json: bool = False,
) -> int:
    """Grant a merchant a credit of AMOUNT pesewas, which it may pay out beyond what it collects."""
    from synccash.administration.administrator import administrator
    from synccash.administration.balances import credit_errors
    from synccash.payments.balance import BalanceAccount

    if live == test:
        raise AdministrationError("Give either --live or --test: each mode has its own balance.")
    account = BalanceAccount(merchant_id=merchant, livemode=live, currency=currency)
    if errors := credit_errors(account, amount, reason, key):
        raise AdministrationError(errors[0])
    done = administrator(settings(), url).grant_credit(account, amount, reason=reason, key=key)
    return _print(done, as_json=json)


@BALANCES.command
def check(merchant: str | None = None, /, *, json: bool = False) -> int:
    """Compare all balances, or those of one merchant, with the payments, refunds and payouts in the database.

    Exits with 1 if a balance differs. Changes nothing; reads all orders, with database credentials.
    """
    from synccash.administration.administrator import on_database
    from synccash.administration.balances import check_balances

    found = on_database(settings(), lambda database: check_balances(database, merchant))
    if json:
        print_json({"data": found})
        return 1 if found else 0
    rows = [
        (
            one["merchant_id"],
            "live" if one["livemode"] else "test",
            one["source"],
            one["kind"],
            money(one["expected"], one["currency"]),
            money(one["found"], one["currency"]),
        )
        for one in found
    ]
    titles = ("merchant", "mode", "source", "kind", "books", "balance")
    print_table(titles, rows, nothing="All balances agree with the orders in the database.")
    return 1 if found else 0


@BALANCES.command
def confirm(
    merchant: str,
    /,
    *,
    credit: Annotated[int, Parameter(help="The new credit in pesewas; 0 for none.")],
    reason: Reason,
    live: Live = False,
    test: Test = False,
    currency: Currency = "GHS",
    url: Url = None,
    json: bool = False,
) -> int:
    """Replace the provisional credit that an upgrade granted by a credit that you set."""
    from synccash.administration.administrator import administrator
    from synccash.administration.balances import confirmation_errors
    from synccash.payments.balance import BalanceAccount

    if live == test:
        raise AdministrationError("Give either --live or --test: each mode has its own balance.")
    account = BalanceAccount(merchant_id=merchant, livemode=live, currency=currency)
    if errors := confirmation_errors(account, credit, reason):
        raise AdministrationError(errors[0])
    done = administrator(settings(), url).confirm_credit(account, credit, reason=reason)
    return _print(done, as_json=json)


def _print(found: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(found)
    if is_waiting(found):
        return print_waiting(found)
    amounts = {name: money(found[name], found["currency"]) for name in (*_SHOWN, "granted") if name in found}
    return print_facts({**{name: found[name] for name in found if name != "object"}, **amounts})
