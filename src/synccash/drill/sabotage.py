"""Breaks one payment on purpose, so that a drill shows whether its audit finds a double debit."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from synccash.drill.trouble import Control
from synccash.stores.postgres.pool import Pool

RAIL = "mtn_momo"
"""A rail that the engine sends a lost reference to again."""
_LOST_ANSWERS = 16
"""More than one send is ever tried; what is left over is taken back."""
_WAIT_S = 30.0


class SabotageError(Exception):
    """The payment could not be broken."""


async def force_double_debit(
    control: Control, pool: Pool, pay: Callable[[str], Awaitable[str | None]]
) -> str:
    """Have one payment debited twice, and return its id once the second debit is certain to come.

    The rail books the first send and loses its answer. While the engine writes down that the outcome is
    unknown, a trigger in the database gives the attempt another reference, as an engine would that does not
    keep its reference. It asks for a reference that the rail does not know, and sends the payment again.

    `pay` asks for a payment at a rail. Raises SabotageError.
    """
    await pool.execute(_BREAK)
    step = {"answer": "drop", "commit": True}
    await control("PUT", f"{RAIL}/script", {"next": [step] * _LOST_ANSWERS})
    try:
        payment_id = await pay(RAIL)
        if payment_id is None:
            raise SabotageError("the API did not take the payment that was to be broken")
        await _wait_until_unknown(pool, payment_id)
    finally:
        await control("DELETE", f"{RAIL}/script", None)
        await pool.execute(_MEND)
    return payment_id


async def _wait_until_unknown(pool: Pool, payment_id: str) -> None:
    end = time.monotonic() + _WAIT_S
    while time.monotonic() < end:
        if await pool.fetchval(_IS_UNKNOWN, payment_id):
            return
        await asyncio.sleep(0.1)
    raise SabotageError(f"the outcome of {payment_id} did not become unknown within {_WAIT_S:.0f} s")


_BREAK = """
    CREATE FUNCTION drill_forget_reference() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.reference := gen_random_uuid();
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER drill_sabotage BEFORE UPDATE OF state ON attempts FOR EACH ROW
        WHEN (OLD.state = 'prepared' AND NEW.state = 'unknown') EXECUTE FUNCTION drill_forget_reference()
"""
_MEND = "DROP TRIGGER drill_sabotage ON attempts; DROP FUNCTION drill_forget_reference()"
_IS_UNKNOWN = "SELECT EXISTS (SELECT FROM attempts WHERE order_id = $1 AND state = 'unknown')"
