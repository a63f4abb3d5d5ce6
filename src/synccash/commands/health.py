"""`synccash health`: the state of the running service, with each trouble and what to do about it."""

from typing import Annotated, Any

from cyclopts import Parameter

from synccash.commands.terminal import print_json, settings

_TROUBLED = 2


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
            print(f"\n{one['what']} ({one['state']}{cause}{retry})\n  {one['detail']}")
        for one in found["notices"]:
            print(f"\nnotice: {one['what']} ({one['state']})\n  {one['detail']}")
    return 0 if found["status"] == "ok" else _TROUBLED


def _print_unavailable(ready: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(ready)
    else:
        print(f"status  {ready['status']}")
        for what, text in ready["warnings"].items():
            print(f"\n{what}\n  {text}")
    return _TROUBLED
