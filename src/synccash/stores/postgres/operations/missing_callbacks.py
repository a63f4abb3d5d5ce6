"""Reads which of a rail's latest successes came without a callback."""

from dataclasses import dataclass

from synccash.stores.postgres.database import Database

# The index attempts_of_rail gives the latest attempts of a rail. A callback may be some seconds late.
_WITHOUT_CALLBACK = """
    SELECT count(*) FILTER (WHERE callback_at IS NULL) FROM (
        SELECT callback_at FROM attempts
        WHERE rail = $1 AND state = 'succeeded'
            AND started_at BETWEEN now() - interval '15 minutes' AND now() - interval '5 seconds'
        ORDER BY started_at DESC LIMIT $2
    ) AS latest
"""


@dataclass(frozen=True, slots=True)
class PostgresMissingCallbacks:
    """Implements `EndsWithoutCallback` of `observability.callback_watch`."""

    database: Database

    async def without_callback(self, rail: str, ends: int) -> int:
        """Return how many of the latest `ends` successes of the last 15 minutes had no callback."""
        rows = await self.database.repeat(_WITHOUT_CALLBACK, rail, ends)
        return rows[0]["count"]
