"""`synccash audit`: lists, exports and verifies the audit log."""

import re
from datetime import datetime
from typing import Annotated

from cyclopts import App, Parameter

from synccash.commands.terminal import print_facts, print_json, print_table, refuse, settings

AUDIT = App(name="audit", help="The audit log: list, export, verify it.")
_HEAD = re.compile(r"[0-9]+:[0-9a-f]{64}", re.ASCII)
Url = Annotated[str | None, Parameter(help="URL of the API; by default SYNCCASH_API_URL, or this machine's.")]


@AUDIT.command(name="list")
def list_entries(
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
    url: Url = None,
    json: bool = False,
) -> int:
    """List entries, newest first.

    Parameters
    ----------
    actor
        Who did it, such as operator:ama, or the id of a key.
    action
        What was done, such as key_revoke.
    target
        The id or the name of what it was done to.
    since
        The time of the oldest entry, such as 2026-01-31 (UTC).
    limit
        Maximum number of entries.
    """
    from synccash.administration.administrator import administrator

    found = administrator(settings(), url).audit_entries(
        limit, actor=actor, action=action, target=target, since=since
    )
    if json:
        return print_json(found)
    names = ("position", "at", "actor", "action", "target", "reason", "request_id")
    rows = [tuple(one[name] for name in names) for one in found["data"]]
    return print_table(names, rows, nothing="No entries match.")


@AUDIT.command
def export(*, after: int = 0, url: Url = None) -> int:
    """Print the whole log as JSON lines: entries and seals, and the newest seal's digest as the last line.

    Parameters
    ----------
    after
        The position of the last entry of an export before.
    """
    from synccash.administration.administrator import administrator

    work = administrator(settings(), url)
    position: int | None = after
    head = None
    while position is not None:
        page = work.audit_export(position)
        for entry in page["data"]:
            print_json({"object": "audit_entry", **entry})
        for seal in page["seals"]:
            print_json({"object": "audit_seal", **seal})
        head, position = page["head"], page["next"]
    return print_json({"object": "audit_head", "head": head})


@AUDIT.command
def verify(*, head: str | None = None, json: bool = False) -> int:
    """Recompute all digests, with database credentials. The exit code is 1 if anything does not match.

    Parameters
    ----------
    head
        A head that was noted elsewhere, in an export or a line audit_sealed of the worker's log: the log must
        still contain it.
    """
    from synccash.administration.audit import verify_audit_log
    from synccash.administration.errors import AdministrationError

    if head is not None and _HEAD.fullmatch(head) is None:
        raise AdministrationError(
            "--head: expected NUMBER:DIGEST, as in the last line of an export or in audit_sealed of the "
            "worker's log"
        )
    found = verify_audit_log(settings(), head)
    problems = found.pop("problems")
    if json:
        print_json({**found, "problems": problems})
        return 1 if problems else 0
    print_facts(found)
    if problems:
        return refuse("\n".join(problems))
    print("The audit log matches its seals.")
    return 0
