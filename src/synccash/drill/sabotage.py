"""Debits one payment twice on purpose, to show whether the audit of a drill finds a double debit."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from synccash.drill.trouble import Control
from synccash.stores.postgres.pool import Pool

RAIL = "mtn_momo"
"""A rail to which the engine sends a lost reference again."""
_LOST_ANSWERS = 16
"""More lost answers than sends of one payment; the unused ones are removed afterwards."""
_TRIES = 3
_WAIT_S = 15.0


class SabotageError(Exception):
    """No payment could be made to be debited twice."""


async def force_double_debit(
    control: Control, pool: Pool, pay: Callable[[str, int], Awaitable[str | None]]
) -> str:
    """Have one payment debited twice, and return its id once the second debit is certain to come.

    The rail books the first send and loses its answer. When the engine records that the outcome is unknown, a
    trigger in the database gives the attempt another reference, as a faulty engine would that does not keep
    its reference. The engine inquires about a reference that the rail does not know, and sends again.

    `pay` requests a payment at a rail; its number identifies the try. On a machine so busy that the sender
    loses its lease, another process may find the first debit. Raises SabotageError.
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
    raise SabotageError(f"no payment could be sabotaged in {_TRIES} tries")


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
