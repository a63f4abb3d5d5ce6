"""Reads orders from rows, and notes those that this version cannot read."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from synccash.payments.errors import OrderUnreadableError, StoreUnavailableError
from synccash.stores.postgres.database import Database

log = structlog.get_logger("synccash.ledger")

UNREADABLE = (msgspec.MsgspecError, ValueError)
"""What reading a row raises where it holds what this version does not know."""

# `times` counts the tries of workers alone: their pauses grow with it. A caller that reads on writes once a
# minute at most.
_NOTE = """
INSERT INTO unreadable_orders AS u (order_id, error) VALUES ($1, $2)
ON CONFLICT (order_id) DO UPDATE SET last_seen = now(), error = excluded.error
WHERE u.last_seen < now() - interval '1 minute'
"""

_T = TypeVar("_T")


async def read_or_note(database: Database, order_id: str, row: Any, read: Callable[[Any], _T]) -> _T:
    """Read an order. Raises OrderUnreadableError, and counts it among what waits for a human."""
    try:
        return read(row)
    except UNREADABLE as error:
        await note_unreadable(database, order_id, error)
        raise OrderUnreadableError(order_id) from error


async def note_unreadable(database: Database, order_id: str, error: Exception) -> None:
    """Log and count an order that somebody asked for and that cannot be read."""
    log.error("order_unreadable", order_id=order_id, error=str(error))
    try:
        await database.repeat(_NOTE, order_id, str(error))
    except StoreUnavailableError as away:
        log.warning("unreadable_order_not_noted", order_id=order_id, reason=str(away))
