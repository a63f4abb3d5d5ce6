"""Operators' work on merchants and orders of the database.

Shared by the API and by commands with database credentials. `by` is the actor of the audit log, which gets
the entry of a change in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import msgspec

from synccash.administration.balances import list_balances, require_merchant
from synccash.engine.commit_builder import render
from synccash.engine.requests.replies import read_order
from synccash.engine.system import SystemIdentities
from synccash.payments.api_key import NewApiKey, new_secret
from synccash.payments.approval import Execution
from synccash.payments.audit import AuditNote
from synccash.payments.document import entry_document
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.history import EndedOrders
from synccash.payments.payer import Msisdn
from synccash.payments.payment import OrderKind
from synccash.payments.request import Role, Tenant
from synccash.payments.routing_replay import RecordedOrder
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.contradictions import PostgresContradictions
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.operations.operating import OrderFilter, PostgresOperating
from synccash.stores.postgres.operations.reconciliations import PostgresReconciliations
from synccash.stores.postgres.operations.rollups import RollupStore
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.webhooks import PostgresWebhooks


@dataclass(frozen=True, slots=True)
class Administration:
    """Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def merchants(self) -> Sequence[dict[str, Any]]:
        """Return all merchants, oldest first."""
        return await PostgresKeys(self.database).merchants()

    async def add_merchant(self, name: str, *, by: str, note: str = "") -> dict[str, Any]:
        """Add a merchant and return it. `note` is put before the reason in the audit log."""
        merchant_id = SystemIdentities().new("mer")
        entry = _entry(by, "merchant_add", merchant_id, note + name, merchant_id)
        await PostgresKeys(self.database).ensure_merchant(merchant_id, name, note=entry)
        return {"id": merchant_id, "name": name}

    async def suspend_merchant(
        self, merchant_id: str, *, by: str, reason: str, note: str = ""
    ) -> dict[str, Any]:
        """Refuse new orders of a merchant; open ones are completed. Raises ObjectNotFoundError."""
        entry = _entry(by, "merchant_suspend", merchant_id, note + reason, merchant_id)
        if not await PostgresKeys(self.database).suspend(merchant_id, reason, note=entry):
            raise ObjectNotFoundError("merchant", merchant_id)
        return {"id": merchant_id, "suspended": True, "reason": reason}

    async def resume_merchant(
        self, merchant_id: str, *, by: str, reason: str, note: str = ""
    ) -> dict[str, Any]:
        """End a merchant's suspension. Raises StateConflictError if it is not suspended."""
        entry = _entry(by, "merchant_resume", merchant_id, note + reason, merchant_id)
        if not await PostgresKeys(self.database).resume(merchant_id, note=entry):
            raise StateConflictError(
                f"{merchant_id} is not a suspended merchant. List them with: synccash merchants list"
            )
        return {"id": merchant_id, "suspended": False, "reason": reason}

    async def orders(self, where: OrderFilter, *, by: str, note: str = "") -> dict[str, Any]:
        """Return one page of payments or payouts, newest first; `next` is the `after` of the next page.

        The page has unmasked numbers, so the audit log first gets an entry of what was asked for.
        """
        asked = {name: str(value) for name, value in asdict(where).items() if value is not None}
        kind = asked.pop("kind")
        if where.wallet is not None:
            asked["wallet"] = str(Msisdn.parse(where.wallet))
        await self._read(by, f"{kind}_read", where.merchant or "all", note, where.merchant, asked)
        found, limit = await PostgresOperating(self.database).orders(where), where.limit
        more = len(found) > limit
        return {"data": found[:limit], "has_more": more, "next": found[limit - 1]["id"] if more else None}

    async def keys(self) -> Sequence[dict[str, Any]]:
        """Return all API keys without their secrets, oldest first."""
        return await PostgresKeys(self.database).keys()

    async def create_key(
        self, key: NewApiKey, *, by: str, note: str = "", execution: Execution | None = None
    ) -> dict[str, Any]:
        """Store a new API key and return it with its secret. Raises ObjectNotFoundError for its merchant."""
        if key.merchant_id is not None:
            await require_merchant(self.database, key.merchant_id)
        kind = "admin" if key.merchant_id is None else "live" if key.livemode else "test"
        told = f"{kind} key of {key.merchant_id or 'an operator'}: {', '.join(sorted(key.scopes))}"
        entry = _entry(by, "key_create", key.id, note + told, key.merchant_id, execution)
        await PostgresKeys(self.database).create_key(key, note=entry)
        return {
            "id": key.id,
            "role": key.role.value,
            "merchant_id": key.merchant_id,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "allowed_ips": [str(network) for network in key.networks],
            "expires_in_s": None if key.expires_in is None else key.expires_in.total_seconds(),
            "secret": key.secret,
        }

    async def rotate_key(
        self,
        key_id: str,
        overlap: timedelta,
        *,
        by: str,
        note: str = "",
        execution: Execution | None = None,
    ) -> dict[str, Any]:
        """Replace an API key by a new one, which is returned with its secret; the former one expires after
        `overlap`. Raises StateConflictError."""
        keys = PostgresKeys(self.database)
        former = next((one for one in await keys.keys() if one["id"] == key_id), None)
        if former is not None:
            secret = new_secret(Role(former["role"]), livemode=former["livemode"])
            told = f"the former key stays valid for {overlap.total_seconds():.0f} s"
            entry = _entry(by, "key_rotate", key_id, note + told, former["merchant_id"], execution)
            made = await keys.rotate(key_id, sha256(secret.encode()).digest(), overlap, note=entry)
            if made is not None:
                return {**made, "secret": secret}
        raise StateConflictError(
            f"The key {key_id} cannot be replaced: it does not exist, has expired, was revoked, or has a "
            "replacement already. List all keys with: synccash keys list"
        )

    async def revoke_key(self, key_id: str, *, by: str, note: str = "") -> dict[str, Any]:
        """Revoke an API key; processes stop accepting it within 5 s. Raises StateConflictError."""
        entry = _entry(by, "key_revoke", key_id, note.removesuffix(": "))
        if not await PostgresKeys(self.database).revoke(key_id, note=entry):
            raise StateConflictError(f"No active key has the id {key_id}. List them with: synccash keys list")
        return {"id": key_id, "revoked": True}

    async def list_orders(
        self, kind: Literal["payments", "payouts"], *, by: str, limit: int, **filters: Any
    ) -> dict[str, Any]:
        """Return one page of payments or payouts by the filters of `OrderFilter`."""
        return await self.orders(OrderFilter(kind=kind, limit=limit, **filters), by=by)

    async def balances(self, merchant_id: str | None) -> Sequence[dict[str, Any]]:
        """Return all balances that have entries, or those of one merchant. Raises ObjectNotFoundError."""
        return await list_balances(self.database, merchant_id)

    async def waiting(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return what waits for an operator's decision, longest waiting first."""
        return await PostgresWaiting(self.database).oldest(limit)

    async def contradictions(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return the contradictions by rails that no operator has closed, oldest first."""
        return await PostgresContradictions(self.database).oldest(limit)

    async def close_contradictions(
        self, order_id: str, *, by: str, reason: str, note: str = ""
    ) -> dict[str, Any]:
        """Take an order's contradictions off the list. Raises StateConflictError if it has none."""
        entry = _entry(by, "contradictions_close", order_id, note + reason)
        closed = await PostgresContradictions(self.database).close(order_id, note=entry)
        if not closed:
            raise StateConflictError(f"{order_id} has no open contradiction.")
        return {"id": order_id, "closed": closed}

    async def reconciliations(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return the latest results of `synccash reconcile` without their findings, newest first."""
        return await PostgresReconciliations(self.database).latest(limit)

    async def reconciliation(self, reconciliation_id: str) -> dict[str, Any]:
        """Return one result with its differences. Raises ObjectNotFoundError."""
        found = await PostgresReconciliations(self.database).one(reconciliation_id)
        if found is None:
            raise ObjectNotFoundError("reconciliation", reconciliation_id)
        return found

    async def recover_webhooks(
        self, tenant: Tenant, since: datetime, *, by: str, reason: str, note: str = ""
    ) -> dict[str, Any]:
        """Send again what was not delivered of a merchant's events since a time. Raises ObjectNotFoundError
        for the merchant."""
        await require_merchant(self.database, tenant.merchant_id)
        details = {"livemode": tenant.livemode, "since": since.isoformat()}
        entry = _entry(by, "webhooks_recover", tenant.merchant_id, note + reason, tenant.merchant_id)
        found = await PostgresWebhooks(self.database).recover(
            tenant, since, note=replace(entry, details=details)
        )
        return {"merchant_id": tenant.merchant_id, "livemode": tenant.livemode, **found}

    async def routed_orders(self, limit: int) -> Sequence[RecordedOrder]:
        """Return the newest payments and payouts of the last hour with their routing decisions, at most
        `limit` of each."""
        return await PostgresOperating(self.database).routed(limit)

    async def history(self, start: datetime, end: datetime, step: timedelta) -> Sequence[EndedOrders]:
        """Return how many orders ended from `start` until before `end`, in periods of `step`."""
        return await RollupStore(self.database).between(start, end, step)

    async def order(self, order_id: str, *, by: str, note: str = "") -> dict[str, Any]:
        """Return an order with the API key and the request that made it, and its whole `timeline`; a payment
        with its `refunds`. The number in it is not masked, so the audit log gets an entry before.

        Raises ObjectNotFoundError and OrderUnreadableError.
        """
        await self._read(by, "order_read", order_id, note)
        case = await read_order(PostgresOrderStore(self.database), order_id)
        if case is None:
            raise ObjectNotFoundError("order", order_id)
        operating = PostgresOperating(self.database)
        document = msgspec.json.decode(render(case.order, case.attempts))
        if case.order.kind is OrderKind.PAYMENT:
            document["refunds"] = await operating.refunds(order_id)
        entries = await operating.timeline(order_id)
        document |= {"api_key_id": case.order.api_key_id, "request_id": case.order.request_id}
        return {**document, "timeline": [entry_document(entry) for entry in entries]}

    async def inquire(self, order_id: str, *, by: str, reason: str, note: str = "") -> dict[str, Any]:
        """Make an order due, so that a worker asks the rail about it now. Raises ObjectNotFoundError."""
        entry = _entry(by, "order_inquire", order_id, note + reason)
        found = await PostgresOperating(self.database).make_due(order_id, note=entry)
        if found is None:
            raise ObjectNotFoundError("order", order_id)
        return found

    async def payment_owner(self, payment_id: str) -> Tenant:
        """Return the merchant and mode of a payment. Raises ObjectNotFoundError."""
        found = await PostgresOperating(self.database).payment_owner(payment_id)
        if found is None:
            raise ObjectNotFoundError("payment", payment_id)
        return found

    async def event_owner(self, event_id: str) -> Tenant:
        """Return the merchant and mode of an event. Raises ObjectNotFoundError."""
        found = await PostgresOperating(self.database).event_owner(event_id)
        if found is None:
            raise ObjectNotFoundError("event", event_id)
        return found

    async def _read(
        self,
        by: str,
        action: str,
        target: str,
        note: str,
        merchant_id: str | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        reason = note.removesuffix(": ")
        entry = _entry(by, action, target, reason, merchant_id)
        await PostgresAudit(self.database).write(replace(entry, details=asked or {}))


def _entry(
    by: str,
    action: str,
    target: str,
    reason: str,
    merchant_id: str | None = None,
    execution: Execution | None = None,
) -> AuditNote:
    return AuditNote(
        actor=by,
        action=action,
        target=target,
        reason=reason,
        merchant_id=merchant_id,
        execution=execution,
    )
