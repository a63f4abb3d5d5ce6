"""Fills the database of a running service with copies of payments that have ended, by COPY.

The copies are of the service's own rows in all tables of a payment, so they have the columns and sizes of the
day. Each copy has its own ids, references, keys, tokens and times; four have the same payer. Encrypted values
stay those of the original, so they cannot be read: copies fill tables and indexes, and are not to be shown.
"""

import hashlib
import io
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg

from synccash.payments.history import DURATION_BOUNDS_S

SPREAD = timedelta(hours=20)
"""The copies were made in the time before the load. Claims are kept longer, so none is swept meanwhile."""
_ORDER_ID = {
    "payments": "id",
    "attempts": "order_id",
    "timeline": "order_id",
    "events": "object_id",
    "idempotency": "order_id",
    "balance_entries": "source",
}
"""The tables of a payment, each with its column of the payment's id."""
_NAMES = {
    "payments": ("id", "reference", "move_id", "request_id"),
    "attempts": ("id", "reference", "callback_token", "provider_transaction_id"),
    "events": ("id",),
    "idempotency": ("key",),
}
"""The columns whose values each payment has of its own."""
# Numbers of transactions as after a restore: below the cursor of the rollups, which would count the copies.
_INSTEAD = {("events", "xact"): "'0'::xid8"}
_DRAWN = {("balance_entries", "id")}
_TEMPLATES, _AT_ONCE = 32, 5_000
_PAYMENTS_OF_A_PAYER = 4
_DIGITS_MIN = 24
_WHOLE = r"(?<![\w-])(?:{})(?![\w-])"
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\+00")

_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''
    AND attgenerated = ''
ORDER BY attnum
"""
_ENDED = f"""
SELECT id FROM payments WHERE status = 'succeeded' AND due_at IS NULL
ORDER BY created_at DESC LIMIT {_TEMPLATES}
"""
_ROLL_UP = f"""
INSERT INTO order_rollups
    (minute, livemode, kind, rail, network, status, failure_code, orders, seconds, durations)
SELECT date_trunc('minute', p.updated_at), p.livemode, 'payment', p.rail, '', p.status, '', count(*),
    count(*), array_cat(ARRAY[count(*)], array_fill(0::bigint, ARRAY[{len(DURATION_BOUNDS_S)}]))
FROM payments p WHERE p.status = 'succeeded' GROUP BY 1, 2, p.rail, p.status
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _Name:
    """A value that each copy has of its own: the prefix of the kind stays, hexadecimal digits follow."""

    prefix: str
    digits: int

    def fresh(self) -> str:
        return f"{self.prefix}{random.getrandbits(4 * self.digits):0{self.digits}x}"

    def of_payer(self, number: int) -> str:
        digest = hashlib.sha512(str(number).encode()).hexdigest()
        return f"{self.prefix}{digest[: self.digits]}"


@dataclass(frozen=True, slots=True)
class _Template:
    """An ended payment as lines of COPY for each table, with places for names and times."""

    lines: Mapping[str, str]
    names: Mapping[str, _Name]
    payer: _Name
    offsets: Mapping[str, timedelta]

    def values(self, number: int, created_at: datetime) -> dict[str, str]:
        """Return what the places of one copy are filled with."""
        found = {place: name.fresh() for place, name in self.names.items()}
        found["payer"] = self.payer.of_payer(number // _PAYMENTS_OF_A_PAYER)
        for place, offset in self.offsets.items():
            found[place] = f"{(created_at + offset).isoformat(sep=' ')}+00"
        return found


async def preload(database_url: str, payments: int) -> float:
    """Write so many copies, then VACUUM ANALYZE; return the seconds.

    The URL is that of a bundled server: its superuser has the same password, and may switch triggers and
    foreign keys off. Raises RuntimeError if no payment has succeeded.
    """
    began = time.perf_counter()
    parts = urlsplit(database_url)
    connection = await asyncpg.connect(
        parts._replace(netloc=f"postgres:{parts.password}@").geturl(),
        server_settings={"timezone": "UTC", "session_replication_role": "replica"},
        command_timeout=None,
    )
    try:
        columns = {table: await _columns(connection, table) for table in _ORDER_ID}
        ids = [row["id"] for row in await connection.fetch(_ENDED)]
        if not ids:
            raise RuntimeError("no payment has succeeded yet, so there is nothing to copy: run some first")
        templates = [await _template(connection, columns, order_id) for order_id in ids]
        first = datetime.now(UTC).replace(tzinfo=None) - SPREAD
        for start in range(0, payments, _AT_ONCE):
            numbers = range(start, min(payments, start + _AT_ONCE))
            copies = [
                (
                    template := templates[number % len(templates)],
                    template.values(number, first + SPREAD * (number / payments)),
                )
                for number in numbers
            ]
            async with connection.transaction():
                for table in _ORDER_ID:
                    await connection.copy_to_table(
                        table, columns=columns[table], source=_lines(table, copies), format="text"
                    )
        await _settle(connection)
    finally:
        await connection.close()
    return time.perf_counter() - began


async def _settle(connection: asyncpg.Connection) -> None:
    """Do what the service would have done with these payments by now, so that no load pays for it."""
    await connection.execute("UPDATE order_rollup_cursor SET xact = '1' WHERE xact < '1'")
    await connection.execute(_ROLL_UP)
    # Twice, because the second call adds up what the first one saw.
    for _ in range(2):
        await connection.execute("SELECT fold_balance_entries()")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")


async def _columns(connection: asyncpg.Connection, table: str) -> list[str]:
    names = [row["attname"] for row in await connection.fetch(_COLUMNS, table)]
    return [name for name in names if (table, name) not in _DRAWN]


async def _template(
    connection: asyncpg.Connection, columns: Mapping[str, Sequence[str]], order_id: str
) -> _Template:
    names: set[str] = set()
    for table, own in _NAMES.items():
        texts = ", ".join(f"{column}::text" for column in own)
        rows = await connection.fetch(f"SELECT {texts} FROM {table} WHERE {_ORDER_ID[table]} = $1", order_id)
        names |= {value for row in rows for value in row.values() if value}
    payment = await connection.fetchrow(
        "SELECT payer_msisdn, created_at FROM payments WHERE id = $1", order_id
    )
    assert payment is not None
    places = {name: f"name{number}" for number, name in enumerate(sorted(names))}
    places[payment["payer_msisdn"]] = "payer"
    pattern = re.compile(_WHOLE.format("|".join(map(re.escape, places))))
    created_at: datetime = payment["created_at"]
    offsets: dict[str, timedelta] = {}

    def time_place(found: re.Match[str]) -> str:
        offset = datetime.fromisoformat(f"{found[0]}:00") - created_at
        place = next((place for place, known in offsets.items() if known == offset), f"time{len(offsets)}")
        offsets[place] = offset
        return f"%({place})s"

    lines: dict[str, str] = {}
    for table, own in columns.items():
        selected = ", ".join(_INSTEAD.get((table, column), f'"{column}"') for column in own)
        buffer = io.BytesIO()
        query = f"SELECT {selected} FROM {table} WHERE {_ORDER_ID[table]} = $1"
        await connection.copy_from_query(query, order_id, output=buffer, format="text")
        text = buffer.getvalue().decode().replace("%", "%%")
        text = pattern.sub(lambda found: f"%({places[found[0]]})s", text)
        lines[table] = _TIME.sub(time_place, text)
    shapes = {place: _shape(name) for name, place in places.items()}
    return _Template(lines, shapes, shapes.pop("payer"), offsets)


def _shape(value: str) -> _Name:
    prefix = value[: value.rfind("_") + 1]
    # PostgreSQL takes a UUID without hyphens as well.
    return _Name(prefix, max(_DIGITS_MIN, len(value) - len(prefix) - value.count("-")))


async def _lines(table: str, copies: Sequence[tuple[_Template, Mapping[str, str]]]) -> AsyncGenerator[bytes]:
    for start in range(0, len(copies), 200):
        yield "".join(
            template.lines[table] % values for template, values in copies[start : start + 200]
        ).encode()
