"""Overwrites the personal data of ended orders: numbers, names, references, descriptions, metadata and texts.

Ids, amounts, times and statuses stay, and so does the keyed hash of each reference, because a reference is
never used again. An order is erased in steps that can be repeated; its own row comes last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from synccash.payments.payer import ERASED, Msisdn
from synccash.payments.payer_networks import payer_hash
from synccash.payments.request import Tenant
from synccash.stores.encryption import Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders import rows
from synccash.stores.postgres.payer_networks import PostgresNetworks

ERASED_TEXT = "erased"
"""What stands in place of a text that was erased."""
_FINAL = "('succeeded', 'failed', 'canceled')"

# Why an order keeps its data; NULL: it may be erased. $1: how many days a payment is refundable, $2: the age
# in days that orders must reach, or NULL. An order whose look-back has ended is not due any more.
_PAYMENT_KEPT = f"""CASE
    WHEN o.status NOT IN {_FINAL} THEN 'open'
    WHEN o.due_at IS NOT NULL OR o.lease_until > now() THEN 'look_back'
    WHEN EXISTS (
        SELECT FROM refunds r WHERE r.payment_id = o.id AND (r.status NOT IN {_FINAL} OR r.due_at IS NOT NULL)
    ) THEN 'refund_open'
    WHEN o.updated_at > now() - make_interval(days => $1) AND EXISTS (
        SELECT FROM attempts a WHERE a.order_id = o.id AND a.reversed_at IS NULL
            AND a.amount_received > a.refund_reserved
    ) THEN 'refundable'
    WHEN o.created_at > now() - make_interval(days => $2) THEN 'retention'
END"""  # noqa: S608 - put together from constants
_PAYOUT_KEPT = f"""CASE
    WHEN o.status NOT IN {_FINAL} THEN 'open'
    WHEN o.due_at IS NOT NULL OR o.lease_until > now() THEN 'look_back'
    WHEN $1::integer IS NULL THEN NULL
    WHEN o.created_at > now() - make_interval(days => $2) THEN 'retention'
END"""
_KEPT: Mapping[str, str] = {"payments": _PAYMENT_KEPT, "payouts": _PAYOUT_KEPT}
_WALLET: Mapping[str, str] = {"payments": "payer_msisdn", "payouts": "payee_msisdn"}

_OF_NUMBER = """
SELECT o.id, o.merchant_id, o.livemode, {kept} AS kept
FROM merchants m CROSS JOIN (VALUES (false), (true)) modes(livemode)
JOIN {table} o ON o.merchant_id = m.id AND o.livemode = modes.livemode AND o.{wallet} = ANY ($3::text[])
WHERE o.erased_at IS NULL ORDER BY o.id
"""
# Ids sort by time, so the oldest orders come first. An event of a late change may wait for the verification
# of its endpoint (72 hours) and be retried (72 hours). Looking for its deliveries would make the retention of
# all merchants as slow as the backlog of one.
_OLD = """
SELECT o.id, o.created_at < now() - make_interval(days => $2) AS is_old,
    CASE WHEN o.erased_at IS NOT NULL THEN 'erased' ELSE coalesce(
        {kept}, CASE WHEN o.updated_at > now() - interval '7 days' THEN 'undelivered' END
    ) END AS kept
FROM {table} o WHERE o.id > $3 ORDER BY o.id LIMIT $4
"""
# A merchant who never verifies its endpoint, or repeats events for ever, keeps an order for 30 days at most.
_UNDELIVERED = """
SELECT DISTINCT coalesce(r.payment_id, e.object_id) AS id
FROM unnest($1::text[], $2::boolean[]) tenant (merchant_id, livemode)
JOIN webhook_endpoints w USING (merchant_id, livemode)
JOIN deliveries d ON d.endpoint_id = w.id AND d.due_at IS NOT NULL
JOIN events e ON e.id = d.event_id LEFT JOIN refunds r ON r.id = e.object_id
WHERE w.status <> 'removed' AND e.created_at > now() - interval '30 days'
    AND coalesce(r.payment_id, e.object_id) = ANY ($3::text[])
"""
_REFUNDS = "SELECT id FROM refunds WHERE payment_id = ANY ($1::text[])"
EVENTS_OF_OBJECTS = "SELECT id, data::text, sealed FROM events WHERE object_id = ANY ($1::text[])"
_WRITE_EVENTS = """
UPDATE events e SET sealed = v.sealed, data = NULL
FROM unnest($1::text[], $2::bytea[]) AS v(id, sealed) WHERE e.id = v.id
"""
_ANSWERS = """
SELECT order_id, scope, key, fingerprint, body, sealed_body FROM idempotency
WHERE order_id = ANY ($1::text[]) AND status IS NOT NULL
"""
_WRITE_ANSWERS = """
UPDATE idempotency i SET sealed_body = v.sealed, body = NULL, key = v.key, fingerprint = v.fingerprint
FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bytea[]) AS v(order_id, sealed, key, fingerprint)
WHERE i.order_id = v.order_id
"""
_TIMELINE = """
SELECT order_id, position, kind, data::text, sealed FROM timeline WHERE order_id = ANY ($1::text[])
"""
_WRITE_TIMELINE = """
UPDATE timeline t SET sealed = v.sealed, data = '{}'
FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS v(order_id, position, sealed)
WHERE t.order_id = v.order_id AND t.position = v.position
"""
_WRITE_REFUNDS = """
UPDATE refunds r SET sealed = v.sealed, reason = NULL, identity = v.identity
FROM unnest($1::text[], $2::bytea[], $3::text[]) AS v(id, sealed, identity) WHERE r.id = v.id
"""
_WRITE_ORDERS = """
UPDATE {table} o SET sealed = v.sealed, reference = v.reference, {wallet} = $4, description = NULL,
    metadata = '{{}}', erased_at = now(){more}
FROM unnest($1::text[], $2::bytea[], $3::text[]) AS v(id, sealed, reference)
WHERE o.id = v.id AND o.erased_at IS NULL AND o.status IN {final} AND o.due_at IS NULL
RETURNING o.id
"""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """An order of a number. `kept`: why it keeps its data (open, look_back, refund_open, refundable,
    retention, undelivered); None when it may be erased."""

    id: str
    table: str
    tenant: Tenant
    kept: str | None


@dataclass(frozen=True, slots=True)
class PostgresErasure:
    """Finds and erases orders. Every method raises StoreUnavailableError without PostgreSQL.

    `refundable_days`: how long after its last change a payment with money left may be refunded.
    `retention_days`: the age that an order must reach; None: any.
    """

    database: Database
    encryption: Encryption
    refundable_days: int
    retention_days: int | None

    async def orders_of(self, msisdn: Msisdn) -> Sequence[FoundOrder]:
        """Return all orders of a number, of all merchants, that have not been erased."""
        forms = sealing.both_forms(self.encryption, sealing.PAYER, msisdn.digits)
        found: list[FoundOrder] = []
        for table, kept in _KEPT.items():
            statement = _OF_NUMBER.format(table=table, kept=kept, wallet=_WALLET[table])
            for row in await self.database.repeat(
                statement, self.refundable_days, self.retention_days, forms
            ):
                tenant = Tenant(row["merchant_id"], livemode=row["livemode"])
                found.append(FoundOrder(row["id"], table, tenant, row["kept"]))
        undelivered = await self._undelivered([one for one in found if one.kept is None])
        return [replace(one, kept="undelivered") if one.id in undelivered else one for one in found]

    async def erase_old(self, table: str, *, after: str, limit: int) -> tuple[int, str | None, str]:
        """Erase what is older than `retention_days` among the next `limit` orders after the id `after`.

        Returns the number of erased orders, the id to go on after (None at the end of what is old), and the
        id up to which no order keeps its data.
        """
        statement = _OLD.format(table=table, kept=_KEPT[table])
        found = await self.database.repeat(statement, self.refundable_days, self.retention_days, after, limit)
        old = [row for row in found if row["is_old"]]
        due = [row["id"] for row in old if row["kept"] is None]
        erased = await self.erase(table, due) if due else 0
        done = after
        for row in old:
            if row["kept"] not in (None, "erased"):
                break
            done = row["id"]
        more = old[-1]["id"] if len(old) == limit else None
        return erased, more, done

    async def erase(self, table: str, ids: Sequence[str]) -> int:
        """Overwrite the personal data of these orders and of their refunds; return the number of orders."""
        refunds = await self._ids(_REFUNDS, ids) if table == "payments" else []
        everything = [*ids, *refunds]
        await self._erase_events(everything)
        await self._erase_answers(everything)
        await self._erase_timeline(everything)
        await self._erase_refunds(refunds)
        return await self._erase_orders(table, ids)

    async def forget_networks(self, msisdn: Msisdn, tenants: Sequence[Tenant]) -> None:
        """Delete what is known of the number's network."""
        networks = PostgresNetworks(self.database)
        secret = await networks.secret()
        await networks.remove([payer_hash(secret, tenant, msisdn) for tenant in dict.fromkeys(tenants)])

    async def _undelivered(self, orders: Sequence[FoundOrder]) -> set[str]:
        """Return the ids of those orders of which an event has not been delivered to its merchant yet."""
        tenants = {one.tenant for one in orders}
        found = await self.database.repeat(
            _UNDELIVERED,
            [tenant.merchant_id for tenant in tenants],
            [tenant.livemode for tenant in tenants],
            [one.id for one in orders],
        )
        return {row["id"] for row in found}

    async def _erase_events(self, ids: Sequence[str]) -> None:
        places: list[str] = []
        sealed: list[bytes] = []
        for row in await self.database.repeat(EVENTS_OF_OBJECTS, ids):
            place = rows.event_place(row["id"])
            plain = _decode(sealing.either(self.encryption, place, row["data"], row["sealed"]))
            places.append(row["id"])
            sealed.append(self.encryption.seal(place, _encode(_redacted(plain))))
        await self.database.repeat(_WRITE_EVENTS, places, sealed)

    async def _erase_answers(self, ids: Sequence[str]) -> None:
        orders: list[str] = []
        sealed: list[bytes] = []
        names: list[tuple[str, bytes]] = []
        for row in await self.database.repeat(_ANSWERS, ids):
            place = rows.answer_place(row["order_id"])
            names.append(sealing.sealed_name(self.encryption, row))
            plain = _decode(sealing.either(self.encryption, place, row["body"], row["sealed_body"]))
            orders.append(row["order_id"])
            sealed.append(self.encryption.seal(place, _encode(_redacted(plain))))
        keys, fingerprints = [key for key, _ in names], [fingerprint for _, fingerprint in names]
        await self.database.repeat(_WRITE_ANSWERS, orders, sealed, keys, fingerprints)

    async def _erase_timeline(self, ids: Sequence[str]) -> None:
        orders: list[str] = []
        positions: list[int] = []
        sealed: list[bytes] = []
        for row in await self.database.repeat(_TIMELINE, ids):
            order_id, kind = row["order_id"], row["kind"]
            data = sealing.open_entry(self.encryption, order_id, kind, row)
            written = sealing.seal_entry(self.encryption, order_id, kind, _without_texts(data))
            if "sealed" in written:
                orders.append(order_id)
                positions.append(row["position"])
                sealed.append(sealing.from_text(written["sealed"]))
        await self.database.repeat(_WRITE_TIMELINE, orders, positions, sealed)

    async def _erase_refunds(self, ids: Sequence[str]) -> None:
        found = await self.database.repeat(
            "SELECT id, identity, sealed FROM refunds WHERE id = ANY ($1::text[])", ids
        )
        names: list[str] = []
        sealed: list[bytes] = []
        identities: list[str | None] = []
        for row in found:
            plain = {"identity": None, "reason": None}
            names.append(row["id"])
            sealed.append(self.encryption.seal(sealing.order_place("refunds", row["id"]), _encode(plain)))
            identities.append(self._hashed("refunds", "identity", row))
        await self.database.repeat(_WRITE_REFUNDS, names, sealed, identities)

    async def _erase_orders(self, table: str, ids: Sequence[str]) -> int:
        found = await self.database.repeat(
            f"SELECT id, reference, sealed FROM {table} WHERE id = ANY ($1::text[])",  # noqa: S608 - our table
            ids,
        )
        personal = sealing.PERSONAL[table]
        plain = {**personal.emptied, "reference": ERASED_TEXT, _WALLET[table]: ERASED}
        sealed = [
            self.encryption.seal(sealing.order_place(table, row["id"]), _encode(plain)) for row in found
        ]
        statement = _WRITE_ORDERS.format(
            table=table,
            wallet=_WALLET[table],
            more=", payee_name = NULL" if table == "payouts" else "",
            final=_FINAL,
        )
        references = [self._hashed(table, "reference", row) for row in found]
        names = [row["id"] for row in found]
        return len(await self.database.repeat(statement, names, sealed, references, ERASED_TEXT))

    def _hashed(self, table: str, column: str, row: Any) -> str | None:
        """Return the keyed hash of a column: as it stands in a sealed row, else computed."""
        value: str | None = row[column]
        if row["sealed"] is not None:
            return value
        return sealing.found_by(self.encryption, sealing.PERSONAL[table].found_by[column], value)

    async def _ids(self, statement: str, ids: Sequence[str]) -> list[str]:
        return [row["id"] for row in await self.database.repeat(statement, ids)]


def _redacted(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of an order, as events and answers have it, without personal data."""
    redacted = dict(document)
    for party in ("payer", "payee"):
        if isinstance(redacted.get(party), dict):
            redacted[party] = {**redacted[party], "msisdn": ERASED}
            if "name" in redacted[party]:
                redacted[party]["name"] = None
    erased: dict[str, Any] = {"reference": ERASED_TEXT, "description": None, "metadata": {}, "reason": None}
    return redacted | {name: value for name, value in erased.items() if name in redacted}


def _without_texts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a timeline entry without what people or other services wrote."""
    erased = dict(data)
    if "by" in erased:
        erased["reason"] = ERASED_TEXT
    if "reasons" in erased:
        erased["reasons"] = []
    return erased
