"""Seals the audit log with a chain of digests, and verifies it.

Decision record 34 says what the chain proves. A digest covers the entries of one seal and the digest of the
seal before it, so the newest digest covers the whole log.
"""

import hmac
import struct
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import asyncpg
import msgspec

from synccash.settings.secret import Secret
from synccash.stores.postgres.audit import COLUMNS, AuditEntry
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import PooledConnection

BATCH = 2_000
"""How many entries a seal covers at most."""
OVERDUE_S = 900.0
"""How old an entry without a seal may be. A worker seals every 30 s."""
FIRST_DIGEST = bytes(32)
"""What stands for the digest before the first seal."""
_PROBLEMS_MAX = 20
_PAGE = 1_000
_LOWEST = -(2**63)
_INDEX_ENTRY = struct.Struct(">q8s")
# As in the trigger audit_positions_are_held; the second one keeps two processes from sealing at once.
_POSITIONS_LOCK = "SELECT pg_advisory_xact_lock(1635083369, 1)"
_SEALING_LOCK = "SELECT pg_try_advisory_xact_lock(1635083369, 2)"
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '500ms'"
_HORIZON = "SELECT coalesce(max(position), 0) FROM audit"
_SEAL_COLUMNS = (
    "seq, first_position, last_position, row_count, row_index, key_id, digest, previous_digest, sealed_at"
)
_LAST_SEAL = f"SELECT {_SEAL_COLUMNS} FROM audit_seals ORDER BY seq DESC LIMIT 1"  # noqa: S608 - constants
_SEAL = f"SELECT {_SEAL_COLUMNS} FROM audit_seals WHERE seq = $1"  # noqa: S608
_NEXT_SEAL = "SELECT min(seq) FROM audit_seals WHERE seq > $1"
_FIRST_SEAL = "SELECT min(seq) FROM audit_seals"
_SEALS = f"""
SELECT {_SEAL_COLUMNS} FROM audit_seals WHERE last_position > $1 AND last_position <= $2 ORDER BY seq
"""  # noqa: S608
_ENTRIES = f"""
SELECT {COLUMNS} FROM audit WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3
"""  # noqa: S608
_UNSEALED = """
SELECT count(*) AS entries, min(position) AS first,
    extract(epoch FROM now() - min(at))::float8 AS oldest_s
FROM audit WHERE position > $1
"""
_NOW = "SELECT clock_timestamp()"
_ADD = f"""
INSERT INTO audit_seals ({_SEAL_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class AuditKey:
    """The key of the digests' HMAC. Who has no copy of it cannot make a seal."""

    secret: Secret

    @classmethod
    def of(cls, secret: Secret | None) -> "AuditKey | None":
        """Return the key of a setting; None where it is not set."""
        return None if secret is None else cls(secret)

    @property
    def id(self) -> str:
        """Names the key in a seal."""
        return sha256(b"synccash audit key\0" + self.secret.reveal().encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One seal; docs in migration 0021."""

    seq: int
    first_position: int
    last_position: int
    row_count: int
    row_index: bytes = field(repr=False)
    key_id: str | None
    digest: bytes
    previous_digest: bytes
    sealed_at: datetime

    @property
    def head(self) -> str:
        """Names this seal outside of the database: its number and its digest."""
        return f"{self.seq}:{self.digest.hex()}"

    def document(self) -> dict[str, Any]:
        """Return the seal for JSON."""
        return {
            "seq": self.seq,
            "first_position": self.first_position,
            "last_position": self.last_position,
            "row_count": self.row_count,
            "key_id": self.key_id,
            "digest": self.digest.hex(),
            "previous_digest": self.previous_digest.hex(),
            "sealed_at": _utc(self.sealed_at),
        }


@dataclass(slots=True)
class ChainReport:
    """What a verification found. `problems` is empty if everything matches; at most 20 are listed."""

    entries: int = 0
    seals: int = 0
    without_key: int = 0
    unsealed: int = 0
    head: str | None = None
    problems: list[str] = field(default_factory=list[str])

    @property
    def is_full(self) -> bool:
        """Whether no more problems are listed."""
        return len(self.problems) >= _PROBLEMS_MAX


@dataclass(frozen=True, slots=True)
class PostgresAuditChain:
    """Seals and verifies the audit log. Every method raises StoreUnavailableError without PostgreSQL.

    With a `key`, digests are HMAC-SHA-256, else SHA-256. `former_key` verifies seals of the key before it.
    """

    database: Database
    key: AuditKey | None = None
    former_key: AuditKey | None = None

    async def seal(self) -> Sequence[Seal]:
        """Seal all entries that no running transaction can still precede; return the new seals.

        Returns nothing if there is nothing to seal, if another process is sealing, or if a transaction that
        has written an entry does not end within 500 ms.
        """
        try:
            horizon = await self.database.repeat_with(self.database.once_with, _horizon)
        except asyncpg.LockNotAvailableError:
            return []
        made: list[Seal] = []

        async def add(connection: PooledConnection) -> Seal | None:
            return await self._add_seal(connection, horizon)

        while True:
            seal = await self.database.repeat_with(self.database.once_with, add)
            if seal is None:
                return made
            made.append(seal)

    async def seals(self, after: int, last: int) -> Sequence[Seal]:
        """Return the seals that end above the position `after`, and at `last` or below it."""
        return [Seal(**dict(row.items())) for row in await self.database.repeat(_SEALS, after, last)]

    async def entries(self, after: int, limit: int) -> Sequence[AuditEntry]:
        """Return up to `limit` entries above the position `after`, in the order of their positions."""
        rows = await self.database.repeat(_ENTRIES, after, 2**63 - 1, limit)
        return [AuditEntry(**dict(row.items())) for row in rows]

    async def head(self) -> Seal | None:
        """Return the newest seal."""
        rows = await self.database.repeat(_LAST_SEAL)
        return Seal(**dict(rows[0].items())) if rows else None

    async def verify(self, known_head: str | None = None) -> ChainReport:
        """Recompute all digests in batches.

        `known_head` is the `head` of a seal that was noted elsewhere: the chain must still contain it, which
        finds a log that was cut off or written anew as a whole.
        """
        report, before = ChainReport(), None
        async for seal in self._all_seals(report):
            if seal.head == known_head:
                known_head = None
            await self._verify_seal(report, before, seal)
            before = seal
            if report.is_full:
                return report
        if before is not None:
            report.head = before.head
            if self.key is not None and before.key_id != self.key.id:
                report.problems.append(
                    f"seal {before.seq}, the newest, was not made with the key of the setting audit_key"
                )
        if known_head is not None:
            report.problems.append(
                f"the seal {known_head} does not exist: the log was cut off or written anew"
            )
        await self._verify_unsealed(report, _LOWEST if before is None else before.last_position)
        return report

    async def _add_seal(self, connection: PooledConnection, horizon: int) -> Seal | None:
        async with connection.transaction():
            if not await connection.fetchval(_SEALING_LOCK):
                return None
            row = await connection.fetchrow(_LAST_SEAL)
            last = None if row is None else Seal(**dict(row.items()))
            low = _LOWEST if last is None else last.last_position
            rows = await connection.fetch(_ENTRIES, low, horizon, BATCH)
            key_id = None if self.key is None else self.key.id
            # The first seal of a key may be empty: from then on, no seal without it is accepted.
            if not rows and (key_id is None or (last is not None and last.key_id == key_id)):
                return None
            entries = [AuditEntry(**dict(row.items())) for row in rows]
            hashes = [_entry_hash(entry) for entry in entries]
            seal = Seal(
                seq=1 if last is None else last.seq + 1,
                first_position=1 if last is None else last.last_position + 1,
                last_position=entries[-1].position if entries else 0 if last is None else last.last_position,
                row_count=len(entries),
                row_index=b"".join(map(_index_entry, entries, hashes)),
                key_id=key_id,
                digest=b"",
                previous_digest=FIRST_DIGEST if last is None else last.digest,
                sealed_at=await connection.fetchval(_NOW),
            )
            digest = _new_digest(seal, self.key)
            for one in hashes:
                digest.update(one)
            seal = replace(seal, digest=digest.digest())
            await connection.execute(
                _ADD,
                seal.seq,
                seal.first_position,
                seal.last_position,
                seal.row_count,
                seal.row_index,
                seal.key_id,
                seal.digest,
                seal.previous_digest,
                seal.sealed_at,
            )
            return seal

    async def _all_seals(self, report: ChainReport) -> AsyncGenerator[Seal]:
        """Yield all seals in their order, and report those that are missing between others."""
        seq = (await self.database.repeat(_FIRST_SEAL))[0]["min"]
        if seq is not None and seq != 1:
            report.problems.append(f"seal 1 is missing: the first one is {seq}")
        while seq is not None:
            rows = await self.database.repeat(_SEAL, seq)
            if rows:
                yield Seal(**dict(rows[0].items()))
            following = (await self.database.repeat(_NEXT_SEAL, seq))[0]["min"]
            if following is not None and following != seq + 1:
                report.problems.append(f"seal {seq + 1} is missing: the next one is {following}")
            seq = following

    async def _verify_seal(self, report: ChainReport, before: Seal | None, seal: Seal) -> None:
        known = len(report.problems)
        key, is_known = self._key_of(seal)
        report.seals += 1
        report.without_key += seal.key_id is None
        if not is_known:
            report.problems.append(
                f"seal {seal.seq} was made with the key {seal.key_id}, which is neither audit_key nor "
                "audit_former_key"
            )
        if before is not None and before.key_id is not None and seal.key_id is None:
            report.problems.append(f"seal {seal.seq} was made without a key, and the one before it with one")
        # A missing seal is reported already; its digest is not known.
        is_next = seal.seq == 1 if before is None else before.seq + 1 == seal.seq
        if is_next:
            if seal.previous_digest != (FIRST_DIGEST if before is None else before.digest):
                report.problems.append(f"seal {seal.seq} does not follow the one before it")
            if seal.first_position != (1 if before is None else before.last_position + 1):
                report.problems.append(f"seal {seal.seq} does not begin where the one before it ends")
        low = seal.first_position - 1
        if is_next:
            low = _LOWEST if before is None else before.last_position
        digest = _new_digest(seal, key)
        index = _Index(seal)
        async for entry in self._entries(low, seal.last_position):
            entry_hash = _entry_hash(entry)
            digest.update(entry_hash)
            report.entries += 1
            for problem in index.compare(entry, entry_hash):
                if not report.is_full:
                    report.problems.append(problem)
        for problem in index.rest():
            if not report.is_full:
                report.problems.append(problem)
        if is_known and digest.digest() != seal.digest and len(report.problems) == known:
            report.problems.append(f"seal {seal.seq} does not match its entries: it was altered")

    def _key_of(self, seal: Seal) -> tuple[AuditKey | None, bool]:
        if seal.key_id is None:
            return None, True
        for key in (self.key, self.former_key):
            if key is not None and key.id == seal.key_id:
                return key, True
        return None, False

    async def _entries(self, low: int, last: int) -> AsyncGenerator[AuditEntry]:
        while rows := await self.database.repeat(_ENTRIES, low, last, _PAGE):
            for row in rows:
                yield AuditEntry(**dict(row.items()))
            low = rows[-1]["position"]

    async def _verify_unsealed(self, report: ChainReport, low: int) -> None:
        [row] = await self.database.repeat(_UNSEALED, low)
        report.unsealed = row["entries"]
        if row["oldest_s"] is not None and row["oldest_s"] > OVERDUE_S:
            report.problems.append(
                f"entry {row['first']} is {row['oldest_s'] / 60:.0f} minutes old and has no seal: a seal was "
                "removed, or no worker runs"
            )


class _Index:
    """Compares the entries that are found with the index of a seal, both in the order of positions."""

    def __init__(self, seal: Seal) -> None:
        self._seq = seal.seq
        whole = len(seal.row_index) - len(seal.row_index) % _INDEX_ENTRY.size
        self._expected = _INDEX_ENTRY.iter_unpack(seal.row_index[:whole])
        self._next: tuple[int, bytes] | None = next(self._expected, None)

    def compare(self, entry: AuditEntry, entry_hash: bytes) -> Iterator[str]:
        """Yield what is wrong up to this entry."""
        while self._next is not None and self._next[0] < entry.position:
            yield self._missing(self._next[0])
            self._next = next(self._expected, None)
        if self._next is None or self._next[0] != entry.position:
            yield f"entry {entry.position} was inserted after seal {self._seq} was made"
            return
        if self._next[1] != entry_hash[:8]:
            yield f"entry {entry.position} was altered after seal {self._seq} was made"
        self._next = next(self._expected, None)

    def rest(self) -> Iterator[str]:
        """Yield the entries that were not found."""
        while self._next is not None:
            yield self._missing(self._next[0])
            self._next = next(self._expected, None)

    def _missing(self, position: int) -> str:
        return f"entry {position} was removed after seal {self._seq} was made"


async def _horizon(connection: PooledConnection) -> int:
    """Return a position that no entry will ever be written below."""
    async with connection.transaction():
        await connection.execute(_LOCK_TIMEOUT)
        await connection.execute(_POSITIONS_LOCK)
        # The snapshot of this statement is newer than the lock, so it sees what the writers have committed.
        return await connection.fetchval(_HORIZON)


def _new_digest(seal: Seal, key: AuditKey | None) -> "hmac.HMAC":
    """Return the digest of a seal's own fields, to which the hashes of its entries are added."""
    fields = [
        seal.seq,
        seal.first_position,
        seal.last_position,
        seal.row_count,
        seal.row_index.hex(),
        seal.key_id,
        seal.previous_digest.hex(),
        _utc(seal.sealed_at),
    ]
    digest: Any = sha256() if key is None else hmac.new(key.secret.reveal().encode(), digestmod=sha256)
    digest.update(msgspec.json.encode(fields))
    return digest


def _entry_hash(entry: AuditEntry) -> bytes:
    fields = [
        entry.position,
        _utc(entry.at),
        entry.actor,
        entry.action,
        entry.target,
        entry.reason,
        entry.request_id,
        entry.merchant_id,
        entry.details,
    ]
    return sha256(msgspec.json.encode(fields)).digest()


def _index_entry(entry: AuditEntry, entry_hash: bytes) -> bytes:
    return _INDEX_ENTRY.pack(entry.position, entry_hash[:8])


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
