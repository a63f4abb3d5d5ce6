"""`synccash health`: the state of the running service, with each trouble and what to do about it."""

from typing import Annotated, Any

from cyclopts import Parameter

from synccash.commands.layout import wrapped_lines
from synccash.commands.terminal import print_json, settings, terminal_width

_TROUBLED = 2
_INDENT = "  "


def health(
    *,
    url: Annotated[str | None, Parameter(help="URL of the API; by default the one on this machine.")] = None,
    json: bool = False,
) -> int:
    """Show whether the service works, and for each trouble its cause and what to do.

    Exits with 0 when it works, 2 when something is in trouble, and 1 when it cannot be asked.
    """
    from synccash.administration.api import management_api, readiness

    given = settings()
    api = management_api(given, url)
    # Keys are in PostgreSQL: while it does not answer, a call with a key waits for it and fails.
    ready = readiness(given, url)
    if ready is not None and "postgresql" in ready["degraded"]:
        return _print_unavailable(ready, as_json=json)
    found = api.get("resilience", "health")
    if json:
        print_json(found)
    else:
        print(f"status  {found['status']}")
        for one in found["troubles"]:
            cause = f", {one['cause']}" if one["cause"] else ""
            retry = f", tried again in {one['retry_after']:.0f} s" if one["retry_after"] else ""
            _print_under(f"{one['what']} ({one['state']}{cause}{retry})", one["detail"])
        for one in found["notices"]:
            _print_under(f"notice: {one['what']} ({one['state']})", one["detail"])
    return 0 if found["status"] == "ok" else _TROUBLED


def _print_unavailable(ready: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(ready)
    else:
        print(f"status  {ready['status']}")
        for what, text in ready["warnings"].items():
            _print_under(what, text)
    return _TROUBLED


def _print_under(title: str, text: str) -> None:
    print(f"\n{title}")
    print(_INDENT + "\n".join(wrapped_lines(text, terminal_width(), _INDENT)))
