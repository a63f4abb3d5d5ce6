"""Checks that the lookup key is the one that the stored rows were hashed with."""

from contextlib import suppress

from synccash.stores.encryption import DecryptionError
from synccash.stores.postgres import sealing
from synccash.stores.postgres.database import Database

WRONG_LOOKUP_KEY = (
    "lookup_key is not the key that the stored orders were hashed with, so no order could be found by its "
    "idempotency key, reference or number. Set SYNCCASH_LOOKUP_KEY to the same key as for the other "
    "processes; it is never changed"
)
# Only the newest rows are read: after an upgrade all older ones may be unencrypted.
_NEWEST = """
SELECT table_name, id, reference, sealed FROM (
    (SELECT 'payments' AS table_name, id, reference, sealed, erased_at FROM payments
        ORDER BY id DESC LIMIT 20)
    UNION ALL
    (SELECT 'payouts', id, reference, sealed, erased_at FROM payouts
        ORDER BY id DESC LIMIT 20)
) AS newest
WHERE sealed IS NOT NULL AND erased_at IS NULL
"""


async def is_lookup_key_wrong(database: Database) -> bool:
    """Return whether all of the newest orders that can be decrypted were hashed with another key.

    Without encryption, or without such an order, nothing can be wrong. Raises StoreUnavailableError.
    """
    encryption = database.encryption
    if encryption is None:
        return False
    matches: list[bool] = []
    for row in await database.repeat(_NEWEST):
        with suppress(DecryptionError):
            reference = sealing.open_columns(encryption, row["table_name"], row)["reference"]
            matches.append(sealing.found_by(encryption, sealing.REFERENCE, reference) == row["reference"])
    return bool(matches) and not any(matches)
