"""`synccash operators`, `login`, `logout` and `enrol`: operators, and the sign-in of the one who types."""

from getpass import getpass
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from synccash.commands.terminal import (
    is_waiting,
    print_facts,
    print_json,
    print_table,
    print_waiting,
    settings,
)

OPERATORS = App(name="operators", help="Operators by name: add, list, reset and disable them; own tokens.")
Role = Literal["viewer", "operator", "admin"]
Url = Annotated[str | None, Parameter(help="URL of the API; by default SYNCCASH_API_URL, or this machine's.")]
Reason = Annotated[str, Parameter(help="The reason, recorded in the audit log.")]
BreakGlass = Annotated[
    bool,
    Parameter(
        negative="", help="Use the database credentials of the settings: for the first operator, or no admin."
    ),
]


@OPERATORS.command
def create(
    name: str,
    /,
    *,
    role: Role,
    reason: Reason = "",
    break_glass: BreakGlass = False,
    url: Url = None,
    json: bool = False,
) -> int:
    """Add an operator and print an enrolment code, which is valid for 24 hours.

    Give the code to that person, who runs `synccash enrol NAME`. Without any operator in the database, and
    with --break-glass, uses the database credentials of the settings; else the API, as an admin.
    """
    from synccash.administration.api import management_api
    from synccash.administration.errors import AdministrationError
    from synccash.administration.operators.operator_recovery import create_operator, has_no_operator

    found = settings()
    is_first = has_no_operator(found)
    if not reason and not is_first:
        raise AdministrationError(
            "--reason is missing. Say why the operator is added; the audit log keeps it"
        )
    if break_glass or is_first:
        made = create_operator(found, name, role, reason or "first operator")
    else:
        body = {"name": name, "role": role, "reason": reason}
        made = management_api(found, url).post("operators", body=body)
    return _print_enrolment(made, as_json=json)


@OPERATORS.command
def reset(
    name: str,
    /,
    *,
    reason: Reason,
    break_glass: BreakGlass = False,
    url: Url = None,
    json: bool = False,
) -> int:
    """End an operator's password, TOTP secret and tokens, and print a new enrolment code."""
    from synccash.administration.api import management_api
    from synccash.administration.operators.operator_recovery import reset_operator

    found = settings()
    if break_glass:
        made = reset_operator(found, name, reason)
    else:
        made = management_api(found, url).post("operators", name, "reset", body={"reason": reason})
    return _print_enrolment(made, as_json=json)


@OPERATORS.command(name="list")
def list_operators(*, url: Url = None, json: bool = False) -> int:
    """List all operators, oldest first."""
    from synccash.administration.api import management_api

    found = management_api(settings(), url).get("operators")
    if json:
        return print_json(found)
    rows = [
        (
            one["name"],
            one["role"],
            "disabled" if one["disabled_at"] else "active" if one["enrolled"] else "not enrolled",
            one["signed_in_at"],
            one["failed_sign_ins"],
            one["created_by"],
        )
        for one in found["data"]
    ]
    titles = ("name", "role", "state", "signed in", "failed sign-ins", "created by")
    nothing = "No operators yet. Add one: synccash operators create NAME --role admin"
    return print_table(titles, rows, nothing=nothing)


@OPERATORS.command
def disable(name: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """End an operator's tokens and refuse further sign-ins."""
    return _change(name, "disable", {"reason": reason}, url, as_json=json)


@OPERATORS.command
def enable(name: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Let a disabled operator sign in again."""
    return _change(name, "enable", {"reason": reason}, url, as_json=json)


@OPERATORS.command
def role(name: str, role: Role, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Change an operator's role."""
    return _change(name, "role", {"role": role, "reason": reason}, url, as_json=json)


@OPERATORS.command
def tokens(*, url: Url = None, json: bool = False) -> int:
    """List your own sessions and API tokens."""
    from synccash.administration.api import management_api

    found = management_api(settings(), url).get("operators", "tokens")
    if json:
        return print_json(found)
    names = ("id", "kind", "name", "created_at", "expires_at", "last_used_at")
    rows = [tuple(one[name] for name in names) for one in found["data"]]
    return print_table(names, rows, nothing="No tokens.")


@OPERATORS.command
def create_token(name: str, /, *, days: int = 90, url: Url = None, json: bool = False) -> int:
    """Create an API token with your role, for programs. It is shown only once."""
    from synccash.administration.api import management_api

    made = management_api(settings(), url).post("operators", "tokens", body={"name": name, "days": days})
    return print_json(made) if json else print_facts(made)


@OPERATORS.command
def revoke_token(token_id: str, /, *, url: Url = None, json: bool = False) -> int:
    """Revoke one of your sessions or API tokens."""
    from synccash.administration.api import management_api

    done = management_api(settings(), url).post("operators", "tokens", token_id, "revoke")
    return print_json(done) if json else print_facts(done)


@OPERATORS.command
def password(*, url: Url = None, json: bool = False) -> int:
    """Change your own password. All your other sessions end."""
    from synccash.administration.api import management_api

    api = management_api(settings(), url)
    body = {
        "password": getpass("Present password: "),
        "totp": input("Code of your authenticator app: ").strip(),
        "new_password": _new_password(),
    }
    api.post("operators", "password", body=body)
    return _say("The password is changed.", {"changed": True}, as_json=json)


def enrol(name: str, /, *, url: Url = None, json: bool = False) -> int:
    """Choose your password with an enrolment code, and get the secret for your authenticator app."""
    from synccash.administration.api import anonymous_api

    api = anonymous_api(settings(), url)
    code = getpass(f"Enrolment code for {api.url}: ").strip()
    made = api.post("operators", "enrol", body={"name": name, "code": code, "password": _new_password()})
    if json:
        return print_json(made)
    print("Add this to your authenticator app; it is shown only once:")
    print(f"  secret  {made['totp_secret']}")
    print(f"  URI     {made['totp_uri']}")
    print(f"Then sign in: synccash login {name}")
    return 0


def login(name: str, /, *, url: Url = None, json: bool = False) -> int:
    """Sign in as an operator. The token is stored in a file that only you can read, for 8 hours."""
    from synccash.administration.api import anonymous_api
    from synccash.administration.token_file import store_token

    api = anonymous_api(settings(), url)
    body = {
        "name": name,
        # The address may come from a file of this folder: show it before a password is typed.
        "password": getpass(f"Password for {api.url}: "),
        "totp": input("Code of your authenticator app: ").strip(),
    }
    found = api.post("operators", "sign-in", body=body)
    store_token(api.url, found["token"])
    if json:
        # Not the token: it is in its file, and the output may be in a log.
        return print_json({field: value for field, value in found.items() if field != "token"})
    print(f"Signed in as {name} ({found['operator']['role']}) until {found['expires_at']}.")
    if found["failed_before"]:
        print(f"There were {found['failed_before']} failed sign-ins with your name since the last one.")
    return 0


def logout(*, url: Url = None, json: bool = False) -> int:
    """Revoke the token of `synccash login` and delete its file."""
    from synccash.administration.api import ManagementApi, anonymous_api
    from synccash.administration.token_file import delete_token, stored_token

    address = anonymous_api(settings(), url).url
    # Not SYNCCASH_OPERATOR_TOKEN, which other commands prefer: that of a program stays valid.
    token = stored_token(address)
    if token is None:
        return _say("You are not signed in.", {"signed_out": False}, as_json=json)
    try:
        ManagementApi(address, token).post("operators", "sign-out")
    finally:
        delete_token(address)
    return _say("Signed out.", {"signed_out": True}, as_json=json)


COMMANDS = (enrol, login, logout)


def _say(text: str, document: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(document)
    print(text)
    return 0


def _new_password() -> str:
    from synccash.administration.errors import AdministrationError

    chosen = getpass("New password (12 characters or more): ")
    if getpass("The same again: ") != chosen:
        raise AdministrationError("The two passwords differ: nothing was changed")
    return chosen


def _change(name: str, action: str, body: dict[str, Any], url: str | None, *, as_json: bool) -> int:
    from synccash.administration.api import management_api

    changed = management_api(settings(), url).post("operators", name, action, body=body)
    if as_json:
        return print_json(changed)
    return print_waiting(changed) if is_waiting(changed) else print_facts(changed)


def _print_enrolment(made: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(made)
    if is_waiting(made):
        return print_waiting(made)
    print_facts(made)
    print(f"Give the code to {made['name']}, who runs: synccash enrol {made['name']}")
    return 0
