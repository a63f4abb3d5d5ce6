"""`synccash approvals`: operators' actions that wait for a second operator."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from synccash.commands.terminal import print_facts, print_json, print_table, settings

APPROVALS = App(name="approvals", help="Actions that need a second operator: list, approve, decline them.")
Status = Literal["pending", "approved", "executed", "failed", "declined", "expired"]
Url = Annotated[str | None, Parameter(help="URL of the API; by default SYNCCASH_API_URL, or this machine's.")]
Reason = Annotated[str, Parameter(help="The reason, recorded in the audit log.")]


@APPROVALS.command(name="list")
def list_approvals(
    *, status: Status | None = "pending", limit: int = 50, url: Url = None, json: bool = False
) -> int:
    """List actions that wait, or those with another --status, newest first."""
    from synccash.administration.api import management_api

    query: dict[str, Any] = {"limit": limit, **({} if status is None else {"status": status})}
    found = management_api(settings(), url).get("approvals", query=query)
    if json:
        return print_json(found)
    names = ("id", "status", "action", "target", "reason", "requested_by", "expires_at", "decided_by")
    rows = [tuple(one[name] for name in names) for one in found["data"]]
    return print_table(names, rows, nothing="Nothing waits for a second operator.")


@APPROVALS.command
def show(approval_id: str, /, *, url: Url = None, json: bool = False) -> int:
    """Show one action with its parameters."""
    from synccash.administration.api import management_api

    found = management_api(settings(), url).get("approvals", approval_id)
    return print_json(found) if json else print_facts(found)


@APPROVALS.command
def approve(approval_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Approve another operator's action; it is executed at once."""
    from synccash.administration.api import management_api

    done = management_api(settings(), url).post("approvals", approval_id, "approve", body={"reason": reason})
    if json:
        return print_json(done)
    print_facts(done["approval"])
    if "secret" in done["result"]:
        print_facts(done["result"])
    half = done["result"].get("enrolment_code_half")
    if half is not None:
        name = done["approval"]["target"]
        print(f"Give {name} the second half of the enrolment code; who requested this has the first:")
        print(f"  {half}")
        print(f"{name} runs `synccash enrol {name}` and types both with a dot between: FIRST.SECOND")
    return 0


@APPROVALS.command
def decline(approval_id: str, /, *, reason: Reason, url: Url = None, json: bool = False) -> int:
    """Decline an action that waits, also one of your own."""
    from synccash.administration.api import management_api

    done = management_api(settings(), url).post("approvals", approval_id, "decline", body={"reason": reason})
    return print_json(done) if json else print_facts(done)
