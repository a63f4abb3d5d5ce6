"""`synccash rails`: the accounts with the rails."""

from typing import Annotated

from cyclopts import App, Parameter

from synccash.commands.terminal import money, print_json, print_table, settings

RAILS = App(name="rails", help="The accounts with the rails.")


@RAILS.command(name="float")
def show_float(
    *,
    url: Annotated[str | None, Parameter(help="Where the API is; this machine's by default.")] = None,
    json: bool = False,
) -> int:
    """What each rail's account can pay out, as the running service last read it."""
    from synccash.administration.api import management_api

    found = management_api(settings(), url).get("resilience", "floats")
    if json:
        return print_json(found)
    rows = [
        (
            one["rail"],
            network or "all",
            None if amount is None else money(amount),
            None if one["alarm_below"] is None else money(one["alarm_below"]),
            "low" if one["is_low"] else None,
            one["age_s"],
            one["error"] or (None if one["is_reported"] else "not reported by this rail"),
        )
        for one in found["data"]
        for network, amount in (
            [(None, one["float"])] if one["float"] is not None or not one["by_network"] else []
        )
        + list(one["by_network"].items())
    ]
    titles = ("rail", "network", "GHS", "alarm below", "state", "age s", "note")
    return print_table(titles, rows, nothing="No rail that is set up pays out.")
