"""`synccash rails`: lists rail accounts and their credentials, confirms credentials, and shows floats."""

from typing import Annotated

from cyclopts import App, Parameter

from synccash.commands.terminal import money, print_facts, print_json, print_table, settings

RAILS = App(name="rails", help="Rail accounts: their credentials and floats.")


@RAILS.command(name="list")
def list_rails(*, json: bool = False) -> int:
    """List all credentials that rail accounts have had, oldest first. Shows a non-secret identity of each."""
    from synccash.administration.maintenance import rails

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
    return print_table(
        titles,
        rows,
        nothing="No rail account is recorded. Check that a rail is configured: synccash config show",
    )


@RAILS.command
def confirm(rail: str, /, *, json: bool = False) -> int:
    """Confirm that a rail's present credentials belong to the same business as the former ones of its label.

    Orders of the former credentials are then sent and inquired about with the present ones. For another
    business, set another label with `<rail>_account` instead. The confirmation is recorded in the audit log.
    """
    from synccash.administration.maintenance.rails import confirm_rail

    made = confirm_rail(settings(), rail)
    return print_json(made) if json else print_facts(made)


@RAILS.command(name="float")
def show_float(
    *,
    url: Annotated[str | None, Parameter(help="URL of the API; by default the one on this machine.")] = None,
    json: bool = False,
) -> int:
    """Show what each rail account can pay out, as the running service last read it."""
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
    return print_table(titles, rows, nothing="No configured rail makes payouts.")
