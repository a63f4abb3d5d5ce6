"""`synccash merchants` and `synccash keys`: whose money it is, and who may call."""

from typing import Annotated

from cyclopts import App, Parameter

from synccash.commands.terminal import print_facts, print_json, print_table, settings

MERCHANTS = App(name="merchants", help="Whose money it is.")
KEYS = App(name="keys", help="Who may call the API.")
Reason = Annotated[str, Parameter(help="Why; it goes into the audit log.")]


@MERCHANTS.command
def add(name: str, /, *, json: bool = False) -> int:
    """Make a merchant; its id is what keys are made for."""
    from synccash.administration.merchants import add_merchant

    made = add_merchant(settings(), name)
    return print_json(made) if json else print_facts(made)


@MERCHANTS.command(name="list")
def list_merchants(*, json: bool = False) -> int:
    """All merchants, oldest first."""
    from synccash.administration import merchants

    found = merchants.list_merchants(settings())
    if json:
        return print_json(found)
    rows = [(one["id"], one["name"], one["created_at"], one["suspended_since"]) for one in found]
    nothing = "no merchants yet: `synccash merchants add NAME`"
    return print_table(("id", "name", "created", "suspended"), rows, nothing=nothing)


@MERCHANTS.command
def suspend(merchant: str, /, *, reason: Reason, json: bool = False) -> int:
    """Let nothing new start for a merchant: payments, refunds and payouts are refused with 403.

    What is open is finished.
    """
    from synccash.administration.merchants import suspend_merchant

    done = suspend_merchant(settings(), merchant, reason)
    return print_json(done) if json else print_facts(done)


@MERCHANTS.command
def resume(merchant: str, /, *, reason: Reason, json: bool = False) -> int:
    """End a merchant's suspension."""
    from synccash.administration.merchants import resume_merchant

    done = resume_merchant(settings(), merchant, reason)
    return print_json(done) if json else print_facts(done)


@KEYS.command
def create(
    *,
    merchant: str | None = None,
    live: Annotated[bool, Parameter(negative="", help="It moves real money, at live accounts only.")] = False,
    test: Annotated[bool, Parameter(negative="", help="It moves none: test accounts only.")] = False,
    admin: bool = False,
    json: bool = False,
) -> int:
    """Make a key for a merchant, either live or test, or for an operator. Its secret is shown this once."""
    from synccash.administration.merchants import create_key

    made = create_key(settings(), merchant=merchant, live=live, test=test, admin=admin)
    return print_json(made) if json else print_facts(made)


@KEYS.command(name="list")
def list_keys(*, json: bool = False) -> int:
    """All keys without their secrets, oldest first."""
    from synccash.administration import merchants

    found = merchants.list_keys(settings())
    if json:
        return print_json(found)
    rows = [
        (one["id"], one["role"], one["merchant_id"], one["livemode"], one["created_at"], one["revoked_at"])
        for one in found
    ]
    titles = ("id", "role", "merchant", "live", "created", "revoked")
    nothing = "no keys yet: `synccash keys create --merchant ID --test`"
    return print_table(titles, rows, nothing=nothing)


@KEYS.command
def revoke(key_id: str, /, *, json: bool = False) -> int:
    """End a key."""
    from synccash.administration.merchants import revoke_key

    ended = revoke_key(settings(), key_id)
    return print_json(ended) if json else print_facts(ended)
