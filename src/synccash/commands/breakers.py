"""`synccash breakers`: how the circuit breakers of the cluster stand, and an operator's hand on them."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from synccash.commands.terminal import print_json, print_table, settings

BREAKERS = App(
    name="breakers", help="Circuit breakers of the running service. A bare rail means its collect breaker."
)
Url = Annotated[str | None, Parameter(help="Where the API is; this machine's by default.")]
Why = Annotated[str | None, Parameter(help="Why; it goes into the audit log.")]
_RESOURCE = ("resilience", "circuit-breakers")


@BREAKERS.command(name="list")
def list_breakers(*, url: Url = None, json: bool = False) -> int:
    """All breakers with the worst state that a live process has."""
    from synccash.administration.api import management_api

    found = management_api(settings(), url).get(*_RESOURCE)
    return print_json(found) if json else _print(found["data"])


@BREAKERS.command
def reset(name: str, /, *, reason: Why = None, url: Url = None, json: bool = False) -> int:
    """Close a breaker everywhere and forget what it has seen; a bare rail means all its breakers."""
    from synccash.administration.api import management_api

    after = management_api(settings(), url).post(*_RESOURCE, name, "reset", body={"reason": reason})
    if json:
        return print_json(after)
    print(f"reset: {', '.join(after['reset'])}")
    return 0


@BREAKERS.command
def force_open(
    name: str,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; it goes into the audit log and to all who look.")],
    url: Url = None,
    json: bool = False,
) -> int:
    """Refuse every new attempt until a reset. Inquiries go on."""
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
            one["reason"],
        )
        for one in found
    ]
    titles = ("breaker", "state", "retry in s", "successes", "failures", "blocked", "processes", "reason")
    return print_table(titles, rows, nothing="no breaker is known: is a rail set up?")
