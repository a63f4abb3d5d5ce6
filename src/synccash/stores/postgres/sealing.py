"""Moves the personal fields of rows into one encrypted value, and back.

Rows are dicts of columns, as `rows.py` builds and reads them. Without keys (`encryption` is None) rows are
written as they are; rows from before the encryption are read as they are in any case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from synccash.payments.case import SURPLUS_SCOPE
from synccash.stores.encryption import IDEMPOTENCY_KEY, DecryptionError, Encryption, is_sealed

PAYER = "payer"
REFERENCE = "reference"
_REFUND_IDENTITY = "refund_identity"
_ENGINE_MADE = "surplus:"

TIMELINE_IN_CLEAR = frozenset({"contradiction", "currency_differs", "amount_differs"})
"""Kinds of timeline entries that SQL statements read. They name attempts, amounts and currencies only."""
_TEXTS = frozenset({"by", "reasons"})
"""Members of timeline entries: with `by` a person wrote the reason, `reasons` may come from outside."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Personal:
    """The personal columns of a table. `found_by`: those that keep a keyed hash, with its domain; `emptied`:
    those that keep a constant."""

    found_by: Mapping[str, str]
    emptied: Mapping[str, Any]

    @property
    def columns(self) -> Sequence[str]:
        return (*self.found_by, *self.emptied)


PERSONAL: Mapping[str, _Personal] = {
    "payments": _Personal(
        found_by={"reference": REFERENCE, "payer_msisdn": PAYER},
        emptied={"description": None, "metadata": {}},
    ),
    "payouts": _Personal(
        found_by={"reference": REFERENCE, "payee_msisdn": PAYER},
        emptied={"payee_name": None, "description": None, "metadata": {}},
    ),
    "refunds": _Personal(found_by={"identity": _REFUND_IDENTITY}, emptied={"reason": None}),
}
"""The tables of orders, by name."""


class _SealedRow(Protocol):
    id: str
    sealed: str | None


def order_place(table: str, order_id: str) -> str:
    """Return the place of an order's sealed columns."""
    return f"{table}:{order_id}"


def seal_order_row(encryption: Encryption | None, table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return an order's columns with the personal ones sealed."""
    if encryption is None:
        return row
    personal = PERSONAL[table]
    plain = {column: row[column] for column in personal.columns}
    sealed = encryption.seal(order_place(table, row["id"]), _encode(plain))
    hashed = {
        column: found_by(encryption, domain, plain[column]) for column, domain in personal.found_by.items()
    }
    return {**row, **personal.emptied, **hashed, "sealed": as_text(sealed)}


def open_order_row(encryption: Encryption | None, table: str, row: _SealedRow) -> None:
    """Put the sealed columns of a decoded row back into it. Raises DecryptionError."""
    if row.sealed is None:
        return
    plain = open_value(encryption, order_place(table, row.id), from_text(row.sealed))
    for column, value in _decode(plain).items():
        setattr(row, column, value)


def open_columns(encryption: Encryption | None, table: str, row: Any) -> dict[str, Any]:
    """Return those personal columns of a record that it has, from its columns `id` and `sealed`.

    Raises DecryptionError.
    """
    columns = [column for column in PERSONAL[table].columns if column in row]
    if row["sealed"] is None:
        return {column: row[column] for column in columns}
    plain = _decode(open_value(encryption, order_place(table, row["id"]), row["sealed"]))
    return {column: plain[column] for column in columns}


def found_by(encryption: Encryption | None, domain: str, value: Any) -> Any:
    """Return what the column holds for this value in sealed rows; names that the engine made stay as they
    are."""
    if encryption is None or value is None:
        return value
    if domain == _REFUND_IDENTITY and value.startswith(_ENGINE_MADE):
        return value
    return encryption.token(domain, value)


def both_forms(encryption: Encryption | None, domain: str, value: str) -> list[str]:
    """Return what the column holds for this value in sealed rows, and in rows that are not sealed."""
    return [value] if encryption is None else [found_by(encryption, domain, value), value]


def claim_key(encryption: Encryption | None, scope: str, key: str) -> str:
    """Return what the column `key` of claims holds. The engine's own keys stay as they are."""
    if encryption is None or scope == SURPLUS_SCOPE:
        return key
    return encryption.token(IDEMPOTENCY_KEY, f"{scope}\0{key}")


def seal_value(encryption: Encryption | None, place: str, plain: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the plain and the sealed column of a value: one of the two is None."""
    return (plain, None) if encryption is None else (None, encryption.seal(place, plain))


def open_value(encryption: Encryption | None, place: str, sealed: bytes) -> bytes:
    """Decrypt a value. Raises DecryptionError."""
    if encryption is None:
        raise DecryptionError("the stored value is encrypted, and this process has no encryption_keys")
    return encryption.open(place, sealed)


def either(encryption: Encryption | None, place: str, plain: Any, sealed: bytes | None) -> Any:
    """Return the value of a plain and a sealed column. Raises DecryptionError."""
    return plain if sealed is None else open_value(encryption, place, sealed)


def seal_entry(
    encryption: Encryption | None, order_id: str, kind: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the columns of a timeline entry. Entries with texts that people or other services wrote are
    sealed; those of the engine itself stay readable in the database."""
    if encryption is None or kind in TIMELINE_IN_CLEAR or _TEXTS.isdisjoint(data):
        return {"data": data}
    return {"data": {}, "sealed": as_text(encryption.seal(f"timeline:{order_id}:{kind}", _encode(data)))}


def open_entry(encryption: Encryption | None, order_id: str, kind: str, row: Any) -> dict[str, Any]:
    """Return the data of a timeline entry from its columns `data` and `sealed`. Raises DecryptionError."""
    return _decode(either(encryption, f"timeline:{order_id}:{kind}", row["data"], row["sealed"]))


_FINGERPRINT_MAX = 1 + sha256().digest_size
"""A version byte and a SHA-256; that of a surplus refund has no version byte."""


def seal_fingerprint(encryption: Encryption | None, order_id: str, fingerprint: bytes) -> bytes:
    """Return what the column holds: a plain fingerprint would confirm a guessed request."""
    return fingerprint if encryption is None else encryption.seal(f"fingerprint:{order_id}", fingerprint)


def open_fingerprint(encryption: Encryption | None, order_id: str, stored: bytes) -> bytes:
    """Return the fingerprint of a claim. Raises DecryptionError."""
    # A digest that begins by chance as a sealed value does is too short to be one: sealing adds 30 bytes.
    if len(stored) <= _FINGERPRINT_MAX or not is_sealed(stored):
        return stored
    return open_value(encryption, f"fingerprint:{order_id}", stored)


def sealed_name(encryption: Encryption, row: Any) -> tuple[str, bytes]:
    """Return the key and the fingerprint of a stored claim as they are stored with the current key.

    A claim whose fingerprint is not sealed has its key in the clear. Raises DecryptionError.
    """
    key, fingerprint = row["key"], open_fingerprint(encryption, row["order_id"], row["fingerprint"])
    if fingerprint == row["fingerprint"]:
        key = claim_key(encryption, row["scope"], key)
    return key, seal_fingerprint(encryption, row["order_id"], fingerprint)


def as_text(value: bytes) -> str:
    """Return bytes in the text format of PostgreSQL."""
    return "\\x" + value.hex()


def from_text(value: str) -> bytes:
    """Return the bytes of a value in the text format of PostgreSQL, as `row_to_json` writes it."""
    return bytes.fromhex(value[2:])
