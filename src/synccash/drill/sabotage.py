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
_TRIES = 3
_WAIT_S = 15.0


class SabotageError(Exception):
    """The payment could not be broken."""


async def force_double_debit(
    control: Control, pool: Pool, pay: Callable[[str, int], Awaitable[str | None]]
) -> str:
    """Have one payment debited twice, and return its id once the second debit is certain to come.

    The rail books the first send and loses its answer. While the engine writes down that the outcome is
    unknown, a trigger in the database gives the attempt another reference, as an engine would that does not
    keep its reference. It asks for a reference that the rail does not know, and sends the payment again.

    `pay` asks for a payment at a rail; the number tells one try from the next. On a machine that is so busy
    that the sender loses its lease, another process may find the first debit. Raises SabotageError.
    """
    await pool.execute(_BREAK)
    step = {"answer": "drop", "commit": True}
    try:
        for number in range(_TRIES):
            await control("PUT", f"{RAIL}/script", {"next": [step] * _LOST_ANSWERS})
            payment_id = await pay(RAIL, number)
            if payment_id is not None and await _becomes_unknown(pool, payment_id):
                return payment_id
    finally:
        await control("DELETE", f"{RAIL}/script", None)
        await pool.execute(_MEND)
    raise SabotageError(f"no payment could be broken in {_TRIES} tries")


async def _becomes_unknown(pool: Pool, payment_id: str) -> bool:
    """Return whether the attempt has got another reference, and is sent again under it."""
    end = time.monotonic() + _WAIT_S
    while time.monotonic() < end:
        if await pool.fetchval(_IS_UNKNOWN, payment_id):
            return True
        await asyncio.sleep(0.1)
    return False


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
