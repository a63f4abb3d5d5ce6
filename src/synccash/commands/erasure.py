"""`synccash erase` and `synccash retention`: overwrite the personal data of ended orders."""

from typing import Annotated

from cyclopts import Parameter

from synccash.commands.terminal import print_json, print_table, settings


def erase(
    *, msisdn: str, reason: Annotated[str, Parameter(help="For the audit log.")], json: bool = False
) -> int:
    """Overwrite the personal data of all orders of one phone number. Amounts, ids, times and statuses stay.

    Refuses, and names the orders, while one of them is open, is still checked at its rail, can be refunded
    (refundable_days), is younger than retention_days, or has an event that is still to be delivered.
    """
    from synccash.administration.maintenance.erasure import erase_number

    done = erase_number(settings(), msisdn, reason=reason)
    if json:
        return print_json(done)
    print(f"The personal data of {done['orders']} orders of {done['msisdn']} was erased.")
    return 0


def retention(*, json: bool = False) -> int:
    """Overwrite the personal data of all ended orders that are older than retention_days, and delete webhook
    endpoints that were removed and approvals that ended before.

    Workers do the same every hour.
    """
    from synccash.administration.maintenance.erasure import erase_old

    done = erase_old(settings())
    if json:
        return print_json({"data": done})
    return print_table(("table", "erased or deleted"), [tuple(one.values()) for one in done], nothing="")


COMMANDS = (erase, retention)
