"""`synccash merchants` and `synccash keys`: manages merchants and API keys."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

from cyclopts import App, Parameter

from synccash.administration.errors import AdministrationError
from synccash.commands.terminal import (
    is_waiting,
    print_facts,
    print_json,
    print_table,
    print_waiting,
    settings,
)

MERCHANTS = App(name="merchants", help="Merchants: add, list, suspend and resume them.")
KEYS = App(name="keys", help="API keys: create, list, rotate and revoke them.")
Reason = Annotated[str, Parameter(help="The reason, recorded in the audit log.")]
Url = Annotated[str | None, Parameter(help="URL of the API; by default SYNCCASH_API_URL, or this machine's.")]


@MERCHANTS.command
def add(name: str, /, *, url: Url = None, json: bool = False) -> int:
    """Add a merchant and print its id, which `synccash keys create --merchant` takes."""
    from synccash.administration.administrator import administrator

    name = _printable("NAME", name, 100)
    made = administrator(settings(), url).add_merchant(name)
    return print_json(made) if json else print_facts(made)


@MERCHANTS.command(name="list")
def list_merchants(*, url: Url = None, json: bool = False) -> int:
    """List all merchants, oldest first."""
    from synccash.administration.administrator import administrator

    found = administrator(settings(), url).merchants()
    if json:
        return print_json({"data": found})
    rows = [(one["id"], one["name"], one["created_at"], one["suspended_since"]) for one in found]
    nothing = "No merchants yet. Add one: synccash merchants add NAME"
    return print_table(("id", "name", "created", "suspended"), rows, nothing=nothing)


@MERCHANTS.command
def suspend(merchant: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Refuse a merchant's new payments, refunds and payouts with 403.

    Orders that are already open are completed.
    """
    from synccash.administration.administrator import administrator

    reason = _printable("--reason", reason, 200)
    done = administrator(settings(), url).suspend_merchant(merchant, reason)
    return print_json(done) if json else print_facts(done)


@MERCHANTS.command
def resume(merchant: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """End a merchant's suspension."""
    from synccash.administration.administrator import administrator

    reason = _printable("--reason", reason, 200)
    done = administrator(settings(), url).resume_merchant(merchant, reason)
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
    name: str = "",
    scopes: Annotated[
        str | None,
        Parameter(
            help="What the key may do: a list with commas of payments:read, payments:write, refunds:write, "
            "payouts:write and webhooks:write, by default all but payouts:write; for an admin key of "
            "admin:read and admin:write, by default both."
        ),
    ] = None,
    ips: Annotated[
        str | None,
        Parameter(help="The addresses that may use the key: a list with commas, such as 203.0.113.0/24."),
    ] = None,
    expires_in: Annotated[
        str | None, Parameter(help="The time after which the key expires, such as 90d; by default never.")
    ] = None,
    url: Url = None,
    json: bool = False,
) -> int:
    """Create a live or test key for a merchant, or an admin key. The secret is shown only once.

    Without --scopes, a merchant's key sends no money out: name payouts:write for one that does.
    """
    from synccash.administration.administrator import administrator
    from synccash.administration.merchants import new_key

    key = new_key(
        merchant=merchant,
        live=live,
        test=test,
        admin=admin,
        name=name,
        scopes=scopes,
        ips=ips,
        expires_in=expires_in,
    )
    return _print_made(administrator(settings(), url).create_key(key), as_json=json)


@KEYS.command(name="list")
def list_keys(*, url: Url = None, json: bool = False) -> int:
    """List all keys without their secrets, oldest first."""
    from synccash.administration.administrator import administrator

    found = administrator(settings(), url).keys()
    if json:
        return print_json({"data": found})
    columns = ("id", "role", "merchant_id", "livemode", "name", "scopes", "allowed_ips", "created_at")
    ends = ("last_used_at", "expires_at", "revoked_at", "replaced_by")
    rows = [[_lists_as_text(one)[column] for column in (*columns, *ends)] for one in found]
    titles = ("id", "role", "merchant", "live", "name", "scopes", "ips", "created")
    titles += ("last used", "expires", "revoked", "replaced by")
    nothing = "No keys yet. Create one: synccash keys create --merchant ID --test"
    return print_table(titles, rows, nothing=nothing)


@KEYS.command
def rotate(
    key_id: str,
    /,
    *,
    overlap: Annotated[
        str, Parameter(help="How long the former key remains valid, such as 24h; 0s ends it within 5 s.")
    ] = "24h",
    url: Url = None,
    json: bool = False,
) -> int:
    """Replace a key by a new one with the same scopes and addresses. The secret is shown only once.

    Both keys are valid during the overlap. A key that has an expiry gets a new one of the same length.
    """
    from synccash.administration.administrator import administrator
    from synccash.administration.merchants import read_overlap

    return _print_made(administrator(settings(), url).rotate_key(key_id, read_overlap(overlap)), as_json=json)


@KEYS.command
def revoke(key_id: str, /, *, url: Url = None, json: bool = False) -> int:
    """Revoke a key."""
    from synccash.administration.administrator import administrator

    ended = administrator(settings(), url).revoke_key(key_id)
    return print_json(ended) if json else print_facts(ended)


def _print_made(made: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(made)
    return print_waiting(made) if is_waiting(made) else print_facts(_lists_as_text(made))


def _lists_as_text(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: ", ".join(cast("list[str]", value)) or None if isinstance(value, list) else value
        for name, value in found.items()
    }


def _printable(option: str, text: str, length_max: int) -> str:
    text = text.strip()
    if not 0 < len(text) <= length_max or not text.isprintable():
        raise AdministrationError(f"{option}: expected 1 to {length_max} printable characters")
    return text
