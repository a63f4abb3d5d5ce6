"""`synccash merchants` and `synccash keys`: manages merchants and API keys."""

from typing import Annotated

from cyclopts import App, Parameter

from synccash.commands.terminal import print_facts, print_json, print_table, settings

MERCHANTS = App(name="merchants", help="Merchants: add, list, suspend and resume them.")
KEYS = App(name="keys", help="API keys: create, list and revoke them.")
Reason = Annotated[str, Parameter(help="The reason, recorded in the audit log.")]


@MERCHANTS.command
def add(name: str, /, *, json: bool = False) -> int:
    """Add a merchant and print its id, which `synccash keys create --merchant` takes."""
    from synccash.administration.merchants import add_merchant

    made = add_merchant(settings(), name)
    return print_json(made) if json else print_facts(made)


@MERCHANTS.command(name="list")
def list_merchants(*, json: bool = False) -> int:
    """List all merchants, oldest first."""
    from synccash.administration import merchants

    found = merchants.list_merchants(settings())
    if json:
        return print_json(found)
    rows = [(one["id"], one["name"], one["created_at"], one["suspended_since"]) for one in found]
    nothing = "No merchants yet. Add one: synccash merchants add NAME"
    return print_table(("id", "name", "created", "suspended"), rows, nothing=nothing)


@MERCHANTS.command
def suspend(merchant: str, /, *, reason: Reason, json: bool = False) -> int:
    """Refuse a merchant's new payments, refunds and payouts with 403.

    Orders that are already open are completed.
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
    live: Annotated[
        bool, Parameter(negative="", help="A live key: moves real money, through live accounts only.")
    ] = False,
    test: Annotated[
        bool, Parameter(negative="", help="A test key: moves no real money, uses test accounts only.")
    ] = False,
    admin: bool = False,
    json: bool = False,
) -> int:
    """Create a live or test key for a merchant, or an admin key. The secret is shown only once."""
    from synccash.administration.merchants import create_key

    made = create_key(settings(), merchant=merchant, live=live, test=test, admin=admin)
    return print_json(made) if json else print_facts(made)


@KEYS.command(name="list")
def list_keys(*, json: bool = False) -> int:
    """List all keys without their secrets, oldest first."""
    from synccash.administration import merchants

    found = merchants.list_keys(settings())
    if json:
        return print_json(found)
    rows = [
        (one["id"], one["role"], one["merchant_id"], one["livemode"], one["created_at"], one["revoked_at"])
        for one in found
    ]
    titles = ("id", "role", "merchant", "live", "created", "revoked")
    nothing = "No keys yet. Create one: synccash keys create --merchant ID --test"
    return print_table(titles, rows, nothing=nothing)


@KEYS.command
def revoke(key_id: str, /, *, json: bool = False) -> int:
    """Revoke a key."""
    from synccash.administration.merchants import revoke_key

    ended = revoke_key(settings(), key_id)
    return print_json(ended) if json else print_facts(ended)
