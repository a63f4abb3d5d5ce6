"""`synccash recovery`: what to do after a restored backup or a fail-over that lost commits."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from synccash.commands.terminal import print_facts, print_json, settings

RECOVERY = App(
    name="recovery",
    help="Hold all sends while the database may lack commits; see docs/operating.md, Restoring a backup.",
)
Reason = Annotated[str, Parameter(help="Why; it goes into the audit log.")]
OtherKey = Annotated[
    bool,
    Parameter(
        negative="",
        help="The former installation key is lost: nothing that was sent under it is found at the rails.",
    ),
]


@RECOVERY.command
def status(*, json: bool = False) -> int:
    """Whether sends are held, why, and how many open orders the rails have not been asked about yet."""
    from synccash.administration.recovery import recovery_state

    return _print(recovery_state(settings()), as_json=json)


@RECOVERY.command
def start(*, reason: Reason, json: bool = False) -> int:
    """Hold all sends. Orders are accepted and queued, and the rails are asked about what is under way.

    A send that was committed before may still leave within one lease (15 s by default).
    """
    from synccash.administration.recovery import start_recovery

    return _print(start_recovery(settings(), reason), as_json=json)


@RECOVERY.command
def release(*, reason: Reason, other_key: OtherKey = False, json: bool = False) -> int:
    """Let sends go on. For each open order the rails are first asked about attempts that may be lost."""
    from synccash.administration.recovery import release_recovery

    return _print(release_recovery(settings(), reason, other_key=other_key), as_json=json)


def _print(state: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        return print_json(state)
    sends = "held: nothing is sent for any order" if state["active"] else "allowed"
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
    print_facts(facts)
    if state["active"]:
        print("When the service runs on the right database: synccash recovery release --reason TEXT")
    return 0
