"""`synccash breakers`: lists, resets and force-opens the circuit breakers of the running service."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from synccash.commands.terminal import print_json, print_table, settings

BREAKERS = App(
    name="breakers",
    help="Circuit breakers of the running service. A rail name alone means its collect breaker.",
)
Url = Annotated[str | None, Parameter(help="URL of the API; by default the one on this machine.")]
Why = Annotated[str | None, Parameter(help="The reason, recorded in the audit log.")]
_RESOURCE = ("resilience", "circuit-breakers")


@BREAKERS.default
@BREAKERS.command(name="list")
def list_breakers(*, url: Url = None, json: bool = False) -> int:
    """List all breakers, each with its worst state among the live processes."""
    from synccash.administration.api import management_api

    found = management_api(settings(), url).get(*_RESOURCE)
    return print_json(found) if json else _print(found["data"])


@BREAKERS.command
def reset(name: str, /, *, reason: Why = None, url: Url = None, json: bool = False) -> int:
    """Close a breaker in all processes and clear its statistics; a rail name alone means all its breakers."""
    from synccash.administration.api import management_api

    after = management_api(settings(), url).post(*_RESOURCE, name, "reset", body={"reason": reason})
    if json:
        return print_json(after)
    print(f"Reset: {', '.join(after['reset'])}")
    return 0


@BREAKERS.command
def force_open(
    name: str,
    /,
    *,
    reason: Annotated[
        str, Parameter(help="The reason, recorded in the audit log and shown with the breaker.")
    ],
    url: Url = None,
    json: bool = False,
) -> int:
    """Open a breaker until it is reset: new attempts are refused, inquiries continue."""
    from synccash.administration.api import management_api

    after = management_api(settings(), url).post(*_RESOURCE, name, "force-open", body={"reason": reason})
    return print_json(after) if json else _print([after])


def _print(found: list[dict[str, Any]]) -> int:
    rows = [
        (
            one["name"],
            one["state"],
            None if one["retry_after"] is None else round(one["retry_after"], 1),
            one["statistics"]["successes"],
            one["statistics"]["failures"],
            one["statistics"]["blocked"],
            len(one["instances"]),
            *_failed(one["statistics"]["last_failure"]),
            one["reason"],
        )
        for one in found
    ]
    counts = ("successes", "failures", "blocked", "processes")
    titles = ("breaker", "state", "retry in s", *counts, "failed at", "cause", "reason")
    code = print_table(
        titles, rows, nothing="No breakers. Check that a rail is configured: synccash config show"
    )
    for text in _explained(found):
        print(f"\n{text}")
    return code


def _failed(failure: dict[str, Any] | None) -> tuple[str | None, str | None]:
    return (None, None) if failure is None else (failure["at"], failure["type"])


def _explained(found: list[dict[str, Any]]) -> list[str]:
    """Return each cause of a breaker that is not closed once, in words and with what to do about it."""
    failures = [one["statistics"]["last_failure"] for one in found if one["state"] != "closed"]
    texts = {
        one["type"]: f"{one['type']}: {one['message']}. {one['action']}"
        for one in failures
        if one is not None and one["action"]
    }
    return list(texts.values())
