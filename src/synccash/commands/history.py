"""`synccash history`: how many orders ended, and how, from the counts that workers keep."""

from typing import Annotated, Literal

from cyclopts import Parameter

from synccash.commands.terminal import print_json, print_table, settings

By = Literal["time", "rail", "network", "code"]
_TITLES = ("orders", "met", "missed", "excluded", "success %", "half took s", "95 % took s")


def history(
    *,
    last: Annotated[str, Parameter(help="How far back, such as 6h or 35d.")] = "24h",
    step: Annotated[str, Parameter(help="The length of a period, such as 5m or 1h.")] = "1h",
    by: Annotated[By, Parameter(help="One line for each of these.")] = "time",
    url: Annotated[str | None, Parameter(help="URL of the API; by default the one on this machine.")] = None,
    json: bool = False,
) -> int:
    """Count the orders that ended, and how long they took. Times are in UTC.

    MET and MISSED count towards the goal; EXCLUDED were ended by their payer or merchant.
    """
    from synccash.administration.administrator import administrator
    from synccash.administration.history import history_lines, period_of

    start, end, length = period_of(last, step)
    found = administrator(settings(), url).history(start, end, length)
    if json:
        return print_json(found)
    return print_table(
        (by, *_TITLES), history_lines(found, by), nothing=f"No order ended in the last {last}."
    )
