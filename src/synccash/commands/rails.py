"""`synccash rails`: the accounts at the rails, whose credentials they have, and what they can pay out."""

from typing import Annotated

from cyclopts import App, Parameter

from synccash.commands.terminal import money, print_facts, print_json, print_table, settings

RAILS = App(name="rails", help="The accounts at the rails, their credentials and their floats.")


@RAILS.command(name="list")
def list_rails(*, json: bool = False) -> int:
    """All credentials that rail accounts have had, by an identity that is no secret, oldest first."""
    from synccash.administration import rails

    found = rails.list_rails(settings())
    if json:
        return print_json({"data": found})
    rows = [
        (
            one["rail"],
            one["label"],
            one["environment"],
            one["identity"],
            one["first_seen"],
            one["confirmed_at"] or "unconfirmed",
        )
        for one in found
    ]
    titles = ("rail", "label", "environment", "identity", "first seen", "confirmed")
    return print_table(titles, rows, nothing="No rail account is recorded: is a rail set up?")


@RAILS.command
def confirm(rail: str, /, *, json: bool = False) -> int:
    """Say that the present credentials of a rail are of the same business as those that its label had before.

    From then on orders of the former credentials are sent and asked about with the present ones. Another
    business gets another label instead, `<rail>_account`. The confirmation goes into the audit log.
    """
    from synccash.administration.rails import confirm_rail

    made = confirm_rail(settings(), rail)
    return print_json(made) if json else print_facts(made)


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
