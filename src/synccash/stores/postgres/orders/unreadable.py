"""Reads orders from rows, and records the orders that this version cannot read."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from synccash.payments.errors import OrderUnreadableError, StoreUnavailableError
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.database import Database

log = structlog.get_logger("synccash.ledger")

UNREADABLE = (msgspec.MsgspecError, ValueError)
"""The errors of reading a row that has values which this version does not know."""

# `times` counts only the workers' tries, because their pauses grow with it. Repeated reads of one order write
# at most once a minute.
_NOTE = """
INSERT INTO unreadable_orders AS u (order_id, error) VALUES ($1, $2)
ON CONFLICT (order_id) DO UPDATE SET last_seen = now(), error = excluded.error
WHERE u.last_seen < now() - interval '1 minute'
"""

_T = TypeVar("_T")


async def read_or_note(
    database: Database, order_id: str, row: Any, read: Callable[[Any, Encryption | None], _T]
) -> _T:
    """Read an order. If it cannot be read, list it for operators and raise OrderUnreadableError."""
    try:
        return read(row, database.encryption)
    except UNREADABLE as error:
        await note_unreadable(database, order_id, error)
        raise OrderUnreadableError(order_id) from error


async def note_unreadable(database: Database, order_id: str, error: Exception) -> None:
    """Log an order that was requested and cannot be read, and list it for operators."""
    log.error("order_unreadable", order_id=order_id, error=str(error))
    try:
        await database.repeat(_NOTE, order_id, str(error))
    except StoreUnavailableError as away:
        log.warning("unreadable_order_not_noted", order_id=order_id, reason=str(away))
