"""Keeps the results of the latest reconciliations for the operators' console."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.rows import to_json

_KEPT = 100
_ADD = f"""
WITH added AS (
    INSERT INTO reconciliations (id, rail, file, actor, is_clean, counts, findings)
    VALUES ($1, $2, $3, $4, $5, $6::json, $7::json) ON CONFLICT (id) DO NOTHING
)
DELETE FROM reconciliations WHERE id IN (SELECT id FROM reconciliations ORDER BY at DESC OFFSET {_KEPT - 1})
"""  # noqa: S608 - put together from constants
_SHOWN = "id, at, rail, file, actor, is_clean, counts::text AS counts"
_LATEST = f"SELECT {_SHOWN} FROM reconciliations ORDER BY at DESC, id DESC LIMIT $1"  # noqa: S608
_ONE = f"SELECT {_SHOWN}, findings::text AS findings FROM reconciliations WHERE id = $1"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationResult:
    """What one run found. `findings` are differences as rows of a report, at most some of them."""

    id: str
    rail: str
    file: str
    actor: str
    is_clean: bool
    counts: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class PostgresReconciliations:
    """Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def add(self, result: ReconciliationResult) -> None:
        """Keep a result; the oldest beyond 100 are deleted."""
        await self.database.repeat(
            _ADD,
            result.id,
            result.rail,
            result.file,
            result.actor,
            result.is_clean,
            to_json(result.counts),
            to_json(result.findings),
        )

    async def latest(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return the latest results without their findings, newest first."""
        return [_opened(row) for row in await self.database.repeat(_LATEST, limit)]

    async def one(self, result_id: str) -> dict[str, Any] | None:
        """Return a result with its findings."""
        found = await self.database.repeat(_ONE, result_id)
        return _opened(found[0]) if found else None


def _opened(row: Any) -> dict[str, Any]:
    found = dict(row.items())
    for name in ("counts", "findings"):
        if name in found:
            found[name] = msgspec.json.decode(found[name])
    return found
