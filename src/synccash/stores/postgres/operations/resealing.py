"""Encrypts rows that are not encrypted with the current key: those from before the encryption, and those of a
former key.

Rows are rewritten in batches, each in one statement. A batch can be repeated, any number of processes may
work at once, and orders go on meanwhile: nothing but the form of the personal columns changes. A row that
another process has rewritten since it was read is left to the next run.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.postgres import sealing, webhooks
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations import approvals, operators
from synccash.stores.postgres.orders import rows

log = structlog.get_logger("synccash.encryption")

_BATCH = 500
_Row = Any

# The value of a sealed column begins with the format and the key's id. $1 is the current key's id.
_OTHER_KEY = "(get_byte({column}, 0) <> 225 OR get_byte({column}, 1) <> $1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """How one table is read in pages and rewritten.

    `key`: its primary key. `stale`: the SQL condition of rows to rewrite. `read`: the columns that `reseal`
    needs, as SQL expressions by name. `written`: the columns that `reseal` returns, with their SQL types.
    `unchanged`: the columns by which a concurrent change is recognised.
    """

    name: str
    key: Mapping[str, str]
    stale: str
    read: Mapping[str, str]
    written: Mapping[str, str]
    unchanged: Mapping[str, str]
    reseal: Callable[[Encryption, _Row], dict[str, Any] | None]


def _reseal_order(table: str) -> Callable[[Encryption, _Row], dict[str, Any]]:
    columns = sealing.PERSONAL[table].columns

    def reseal(encryption: Encryption, row: _Row) -> dict[str, Any]:
        if row["sealed"] is not None:
            # The hashes stay: those of an erased row cannot be computed again.
            place = sealing.order_place(table, row["id"])
            sealed = encryption.seal(place, encryption.open(place, row["sealed"]))
            return {**{column: row[column] for column in columns}, "sealed": sealed}
        plain = {column: row[column] for column in columns}
        if "metadata" in plain:
            plain["metadata"] = msgspec.json.decode(plain["metadata"])
        written = sealing.seal_order_row(encryption, table, {"id": row["id"], **plain})
        written["sealed"] = sealing.from_text(written["sealed"])
        if "metadata" in written:
            written["metadata"] = "{}"
        return written

    return reseal


def _order_table(name: str) -> _Table:
    columns = sealing.PERSONAL[name].columns
    types = {column: "json" if column == "metadata" else "text" for column in columns}
    return _Table(
        name=name,
        key={"id": "text"},
        stale=f"(sealed IS NULL OR {_OTHER_KEY.format(column='sealed')})",
        read={**{column: f"{column}::text" for column in columns}, "sealed": "sealed"},
        written={**types, "sealed": "bytea"},
        unchanged={"sealed": "bytea"},
        reseal=_reseal_order(name),
    )


def _reseal_event(encryption: Encryption, row: _Row) -> dict[str, Any]:
    place, data = rows.event_place(row["id"]), row["data"]
    plain = sealing.either(encryption, place, None if data is None else data.encode(), row["sealed"])
    return {"data": None, "sealed": encryption.seal(place, plain)}


def _reseal_entry(encryption: Encryption, row: _Row) -> dict[str, Any] | None:
    data = sealing.open_entry(encryption, row["order_id"], row["kind"], row)
    written = sealing.seal_entry(encryption, row["order_id"], row["kind"], data)
    if "sealed" not in written:
        return None
    return {"data": "{}", "sealed": sealing.from_text(written["sealed"])}


def _reseal_claim(encryption: Encryption, row: _Row) -> dict[str, Any]:
    key, fingerprint = sealing.sealed_name(encryption, row)
    place = rows.answer_place(row["order_id"])
    body = sealing.either(encryption, place, row["body"], row["sealed_body"])
    return {
        "new_key": key,
        "fingerprint": fingerprint,
        "body": None,
        "sealed_body": None if body is None else encryption.seal(place, body),
    }


def _reseal_endpoint(encryption: Encryption, row: _Row) -> dict[str, Any]:
    place = webhooks.secrets_place(row["id"])
    plain = sealing.either(encryption, place, row["secrets"].encode(), row["sealed"])
    return {"secrets": "{}", "sealed": encryption.seal(place, plain)}


def _reseal_operator(encryption: Encryption, row: _Row) -> dict[str, Any]:
    name = row["name"]
    secret = operators.read_totp_secret(encryption, name, row["totp_secret"])
    sealed = None if secret is None else encryption.seal(operators.totp_place(name), secret.encode())
    return {"totp_secret": sealed}


def _reseal_approval(encryption: Encryption, row: _Row) -> dict[str, Any]:
    parameters, reason, sealed = approvals.seal_request(
        encryption, row["id"], *approvals.open_request(encryption, row)
    )
    written: dict[str, Any] = {"parameters": parameters.decode(), "reason": reason, "sealed": sealed}
    for column in _APPROVAL_TEXTS:
        text = approvals.open_text(encryption, row, column)
        written[column], written[f"sealed_{column}"] = approvals.seal_text(
            encryption, row["id"], column, text
        )
    return written


_APPROVAL_TEXTS = (approvals.DECISION_REASON, approvals.FAILURE)
_APPROVAL_CHANGES = {
    "sealed": "bytea",
    **{name: kind for one in _APPROVAL_TEXTS for name, kind in ((one, "text"), (f"sealed_{one}", "bytea"))},
}
_ORDERS = "object_id ~ '^(pay|re|po)_'"
_TABLES = (
    *(_order_table(name) for name in sealing.PERSONAL),
    # The other events are about rails and endpoints: they name no person.
    _Table(
        name="events",
        key={"id": "text"},
        stale=f"{_ORDERS} AND (sealed IS NULL OR {_OTHER_KEY.format(column='sealed')})",
        read={"data": "data::text", "sealed": "sealed"},
        written={"data": "json", "sealed": "bytea"},
        unchanged={"sealed": "bytea"},
        reseal=_reseal_event,
    ),
    _Table(
        name="timeline",
        key={"order_id": "text", "position": "bigint"},
        stale=f"(CASE WHEN sealed IS NULL THEN data::jsonb ?| ARRAY['by', 'reasons'] "
        f"ELSE {_OTHER_KEY.format(column='sealed')} END)",
        read={"kind": "kind", "data": "data::text", "sealed": "sealed"},
        written={"data": "json", "sealed": "bytea"},
        unchanged={"sealed": "bytea"},
        reseal=_reseal_entry,
    ),
    _Table(
        name="idempotency",
        key={"scope": "text", "key": "text"},
        stale=f"({_OTHER_KEY.format(column='fingerprint')} OR body IS NOT NULL "
        f"OR (sealed_body IS NOT NULL AND {_OTHER_KEY.format(column='sealed_body')}))",
        read={
            "order_id": "order_id",
            "fingerprint": "fingerprint",
            "body": "body",
            "sealed_body": "sealed_body",
        },
        written={"new_key": "text", "fingerprint": "bytea", "body": "bytea", "sealed_body": "bytea"},
        unchanged={"fingerprint": "bytea", "body": "bytea", "sealed_body": "bytea"},
        reseal=_reseal_claim,
    ),
    _Table(
        name="webhook_endpoints",
        key={"id": "text"},
        stale=f"status <> 'removed' AND (sealed IS NULL OR {_OTHER_KEY.format(column='sealed')})",
        read={"secrets": "secrets::text", "sealed": "sealed"},
        written={"secrets": "json", "sealed": "bytea"},
        unchanged={"secrets": "text", "sealed": "bytea"},
        reseal=_reseal_endpoint,
    ),
    _Table(
        name="operators",
        key={"id": "text"},
        stale=f"totp_secret IS NOT NULL AND {_OTHER_KEY.format(column='totp_secret')}",
        read={"name": "name", "totp_secret": "totp_secret"},
        written={"totp_secret": "bytea"},
        unchanged={"totp_secret": "bytea"},
        reseal=_reseal_operator,
    ),
    _Table(
        name="approvals",
        key={"id": "text"},
        stale="(sealed IS NULL OR num_nonnulls(decision_reason, failure) > 0 OR "
        + " OR ".join(
            f"({column} IS NOT NULL AND {_OTHER_KEY.format(column=column)})"
            for column in ("sealed", *(f"sealed_{one}" for one in _APPROVAL_TEXTS))
        )
        + ")",
        read={
            "parameters": "parameters::text",
            "reason": "reason",
            **{column: column for column in _APPROVAL_CHANGES},
        },
        written={"parameters": "json", "reason": "text", **_APPROVAL_CHANGES},
        unchanged=_APPROVAL_CHANGES,
        reseal=_reseal_approval,
    ),
)


# The key of the hashes of payers, which a database without encryption_keys stores itself. New entries are
# hashed with a key that is derived from the lookup key; the former ones are learned again.
_FORGET_STORED_KEY = """
WITH key AS (DELETE FROM installation_keys WHERE purpose = 'payer_networks' RETURNING 1)
DELETE FROM payer_networks WHERE EXISTS (SELECT FROM key)
"""


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a run did with one table. `unreadable`: rows that could not be decrypted, or not be written."""

    table: str
    written: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class PostgresResealing:
    """Rewrites rows with the current key of `encryption`. Every method raises StoreUnavailableError without
    PostgreSQL."""

    database: Database
    encryption: Encryption

    async def run(self) -> AsyncIterator[Resealed]:
        """Rewrite all rows that need it; yield each table when it is done."""
        for table in _TABLES:
            yield await self._run_table(table)
        await self.database.repeat(_FORGET_STORED_KEY)

    async def stale(self) -> dict[str, int]:
        """Return the number of rows of each table that are not encrypted with the current key. Reads whole
        tables."""
        found: dict[str, int] = {}
        for table in _TABLES:
            statement = f"SELECT count(*) AS n FROM {table.name} WHERE {table.stale}"  # noqa: S608 - constants
            found[table.name] = (await self.database.repeat(statement, self.encryption.current_key_id))[0][
                "n"
            ]
        return found

    async def _run_table(self, table: _Table) -> Resealed:
        after: list[Any] | None = None
        written = unreadable = 0
        while True:
            arguments = [self.encryption.current_key_id, _BATCH, *(after or [])]
            page = await self.database.repeat(_page(table, is_first=after is None), *arguments)
            if not page:
                return Resealed(table.name, written, unreadable)
            after = [page[-1][column] for column in table.key]
            made: list[tuple[_Row, dict[str, Any]]] = []
            for row in page:
                if not row["is_stale"]:
                    continue
                try:
                    columns = table.reseal(self.encryption, row)
                except (DecryptionError, msgspec.MsgspecError, ValueError) as error:
                    log.error("row_not_encrypted", table=table.name, row=row[0], error=str(error))
                    unreadable += 1
                    continue
                if columns is not None:
                    made.append((row, columns))
            if made:
                written += await self._write(table, made)

    async def _write(self, table: _Table, made: Sequence[tuple[_Row, dict[str, Any]]]) -> int:
        values = [[row[column] for row, _ in made] for column in table.key]
        values += [[row[column] for row, _ in made] for column in table.unchanged]
        values += [[columns[column] for _, columns in made] for column in table.written]
        return len(await self.database.repeat(_write(table), *values))


def _page(table: _Table, *, is_first: bool) -> str:
    """Return the statement that reads the next rows in the order of the key; only those to rewrite with their
    values. $2: the most rows; then the key of the last row of the page before."""
    key = ", ".join(table.key)
    marks = ", ".join(f"${number}::{kind}" for number, kind in enumerate(table.key.values(), start=3))
    where = "" if is_first else f"WHERE ({key}) > ({marks})"
    values = ", ".join(
        f"CASE WHEN {table.stale} THEN {sql} END AS {name}" for name, sql in table.read.items()
    )
    return f"""
SELECT {key}, {table.stale} AS is_stale, {values} FROM {table.name} {where} ORDER BY {key} LIMIT $2
"""  # noqa: S608 - put together from constants


def _write(table: _Table) -> str:
    columns = {
        **table.key,
        **{f"former_{name}": kind for name, kind in table.unchanged.items()},
        **{f"new_{name.removeprefix('new_')}": kind for name, kind in table.written.items()},
    }
    # Arrays of JSON are passed as texts.
    arrays = ", ".join(
        f"${number}::{'text' if kind == 'json' else kind}[]"
        for number, kind in enumerate(columns.values(), start=1)
    )
    same_key = " AND ".join(f"o.{column} = v.{column}" for column in table.key)
    same = " AND ".join(
        f"o.{name}::{kind} IS NOT DISTINCT FROM v.former_{name}" for name, kind in table.unchanged.items()
    )
    changes = ", ".join(
        f"{name.removeprefix('new_')} = v.new_{name.removeprefix('new_')}::{kind}"
        for name, kind in table.written.items()
    )
    order = ", ".join(f"o.{column}" for column in table.key)
    held = ", ".join(f"o.{column}" for column in table.key)
    return f"""
WITH v AS MATERIALIZED (SELECT * FROM unnest({arrays}) AS v({", ".join(columns)})),
held AS MATERIALIZED (
    SELECT {held} FROM {table.name} o JOIN v ON {same_key} WHERE {same} ORDER BY {order} FOR UPDATE OF o
)
UPDATE {table.name} o SET {changes} FROM v, held h
WHERE {same_key} AND {" AND ".join(f"o.{column} = h.{column}" for column in table.key)} AND {same}
RETURNING 1
"""  # noqa: S608 - put together from constants
