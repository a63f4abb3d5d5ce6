"""`synccash recovery`: holds all sends after a restored backup or a fail-over that lost commits."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from synccash.commands.terminal import print_facts, print_json, settings

RECOVERY = App(
    name="recovery",
    help="Hold all sends while the database may lack commits; see docs/operating.md, Restoring a backup.",
)
Reason = Annotated[str, Parameter(help="The reason, recorded in the audit log.")]
OtherKey = Annotated[
    bool,
    Parameter(
        negative="",
        help="The former installation key is lost: orders sent with it cannot be found at the rails.",
    ),
]


@RECOVERY.command
def status(*, json: bool = False) -> int:
    """Show whether sends are held, why, and for how many open orders the rails were not asked yet."""
    from synccash.administration.maintenance.recovery import recovery_state

    return _print(recovery_state(settings()), as_json=json)


@RECOVERY.command
def start(*, reason: Reason, json: bool = False) -> int:
    """Hold all sends. New orders are accepted and queued, and inquiries about open attempts continue.

    Then it writes the missing rows of due_payments, if the database was restored without its triggers. A send
    that was committed before this command may still go out within one lease (15 s by default).
    """
    from synccash.administration.maintenance.recovery import start_recovery

    return _print(start_recovery(settings(), reason), as_json=json)


@RECOVERY.command
def release(*, reason: Reason, other_key: OtherKey = False, json: bool = False) -> int:
    """Resume sends. For each open order, the rails are first asked about attempts that may be lost."""
    from synccash.administration.maintenance.recovery import release_recovery

    return _print(release_recovery(settings(), reason, other_key=other_key), as_json=json)


def _print(state: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(state)
    sends = "held for all orders" if state["active"] else "allowed"
    facts = {
        "sends": sends,
        "recoveries": state["epoch"],
        "reason": state["reason"],
        "started by": state["entered_by"],
        "started at": state["entered_at"],
        "released by": None if state["active"] else state["released_by"],
        "released at": None if state["active"] else state["released_at"],
        "orders to ask the rails about": state["unsearched"],
    }
    if state.get("repaired"):
        facts["payments that no worker would have found"] = f"{state['repaired']}, repaired"
    print_facts(facts)
    if state["active"]:
        print("Once the service runs on the right database, resume: synccash recovery release --reason TEXT")
    return 0
