"""Merchants and API keys in PostgreSQL. Only the SHA-256 of a key's secret is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from synccash.payments.access import SCOPES_OF_ROLE, AccessScope, CallerKind, Credential, Principal
from synccash.payments.api_key import NewApiKey, key_id_of
from synccash.payments.audit import AuditNote
from synccash.payments.request import Role, Tenant
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database

_CREDENTIAL = """
SELECT id, merchant_id, livemode, scopes, allowed_ips,
    extract(epoch FROM expires_at - now())::float8 AS expires_in_s
FROM api_keys WHERE secret_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
_GOOD = """
SELECT secret_hash FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
ORDER BY created_at DESC LIMIT 100000
"""
_TENANTS = """
SELECT id || mode AS tenant FROM merchants, (VALUES (':test'), (':live')) modes(mode) ORDER BY 1 LIMIT 200
"""
_MERCHANTS = """
SELECT m.id, m.name, m.created_at, s.since AS suspended_since, s.reason AS suspended_for
FROM merchants m LEFT JOIN suspended_merchants s ON s.merchant_id = m.id ORDER BY m.created_at, m.id
"""
_SUSPEND = """
INSERT INTO suspended_merchants (merchant_id, reason) SELECT id, $2 FROM merchants WHERE id = $1
ON CONFLICT (merchant_id) DO UPDATE SET reason = excluded.reason RETURNING since
"""
_RESUME = "DELETE FROM suspended_merchants WHERE merchant_id = $1 RETURNING merchant_id"
_KEYS = """
SELECT id, role, merchant_id, livemode, name, scopes, allowed_ips::text[] AS allowed_ips, created_at,
    last_used_at, expires_at, revoked_at, replaced_by
FROM api_keys ORDER BY created_at, id
"""
_REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id"
_ENSURE_MERCHANT = """
INSERT INTO merchants (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id
"""
_ENSURE_KEY = """
INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode, scopes) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (secret_hash) DO NOTHING
"""
_CREATE_KEY = """
INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode, name, scopes, allowed_ips, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9::interval) ON CONFLICT (id) DO NOTHING
RETURNING id
"""
# The new key lives as long as the old one was meant to, from now on. A key that has a replacement is not
# rotated again: its holder would have two new keys, and nobody would know which of them is in use.
_ROTATE = """
WITH former AS (
    SELECT * FROM api_keys WHERE id = $1 AND replaced_by IS NULL
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    FOR UPDATE
), made AS (
    INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode, name, scopes, allowed_ips, expires_at)
    SELECT $2, $3, role, merchant_id, livemode, name, scopes, allowed_ips, now() + (expires_at - created_at)
    FROM former
)
UPDATE api_keys k SET replaced_by = $2, expires_at = least(k.expires_at, now() + $4::interval)
FROM former f WHERE k.id = f.id RETURNING k.id
"""
_ROTATED = """
SELECT o.id AS former_id, o.expires_at AS former_expires_at, n.id, n.role, n.merchant_id, n.livemode, n.name,
    n.scopes, n.allowed_ips::text[] AS allowed_ips, n.expires_at
FROM api_keys o JOIN api_keys n ON n.id = o.replaced_by WHERE o.id = $1 AND n.id = $2
"""
# Once a minute and key at most, whichever processes see it. The rows are locked in one order, and a row that
# another process is writing needs no second write.
_RECORD_USE = """
WITH due AS (
    SELECT k.id, u.at FROM (
        SELECT id, now() - make_interval(secs => ago) AS at
        FROM unnest($1::text[], $2::float8[]) given(id, ago)
    ) u JOIN api_keys k USING (id)
    WHERE k.last_used_at IS NULL OR k.last_used_at < u.at - interval '1 minute'
    ORDER BY k.id FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE api_keys k SET last_used_at = due.at FROM due WHERE k.id = due.id
"""


@dataclass(frozen=True, slots=True)
class PostgresKeys:
    """Stores merchants and API keys. Every method raises StoreUnavailableError without PostgreSQL.

    A `note` is written to the audit log in the transaction of the change, if anything is changed.
    """

    database: Database

    async def credential(self, secret_hash: bytes) -> Credential | None:
        """Return the key with this SHA-256; None if it does not exist, has expired or was revoked."""
        found = await self.database.repeat(_CREDENTIAL, secret_hash)
        if not found:
            return None
        key_id, merchant_id, livemode, scopes, allowed_ips, expires_in_s = found[0].values()
        # Scopes that a newer version of the service has added mean nothing here.
        known = frozenset([scope for scope in AccessScope if scope in scopes])
        if merchant_id is None:
            principal = Principal(key_id, CallerKind.ADMIN_KEY, None, known)
        else:
            principal = Principal(key_id, CallerKind.MERCHANT_KEY, Tenant(merchant_id, livemode), known)
        return Credential(principal, expires_in_s, tuple(allowed_ips))

    async def good(self) -> frozenset[bytes]:
        """Return the hashes of the newest 100,000 keys that are valid now."""
        return frozenset([row["secret_hash"] for row in await self.database.repeat(_GOOD)])

    async def tenants(self) -> Sequence[str]:
        """Return up to 200 tenants: each merchant as `merchant:test` and `merchant:live`."""
        return [row["tenant"] for row in await self.database.repeat(_TENANTS)]

    async def merchants(self) -> Sequence[dict[str, Any]]:
        """Return all merchants, oldest first, with the time and reason of a suspension."""
        return [dict(row.items()) for row in await self.database.repeat(_MERCHANTS)]

    async def suspend(self, merchant_id: str, reason: str, *, note: AuditNote | None = None) -> bool:
        """Suspend a merchant: no new order is opened for it. Returns False if there is no such merchant."""
        return bool(await change_with_note(self.database, note, _SUSPEND, merchant_id, reason))

    async def resume(self, merchant_id: str, *, note: AuditNote | None = None) -> bool:
        """End a suspension. Returns False if the merchant is not suspended."""
        return bool(await change_with_note(self.database, note, _RESUME, merchant_id))

    async def keys(self) -> Sequence[dict[str, Any]]:
        """Return all keys, oldest first, without their hashes."""
        return [dict(row.items()) for row in await self.database.repeat(_KEYS)]

    async def revoke(self, key_id: str, *, note: AuditNote | None = None) -> bool:
        """Revoke a key. Returns False if no key with this id exists that is not revoked."""
        return bool(await change_with_note(self.database, note, _REVOKE, key_id))

    async def ensure_merchant(self, merchant_id: str, name: str, *, note: AuditNote | None = None) -> None:
        """Create the merchant if no merchant has this id; an existing one is not changed."""
        await change_with_note(self.database, note, _ENSURE_MERCHANT, merchant_id, name)

    async def ensure_key(
        self, secret_hash: bytes, role: Role, *, merchant_id: str | None, livemode: bool
    ) -> None:
        """Create a key with this SHA-256 and all scopes of its role. An existing key is not changed: a
        revoked one stays revoked.

        An operator's key has no merchant.
        """
        key_id, scopes = key_id_of(secret_hash), sorted(SCOPES_OF_ROLE[role])
        await self.database.repeat(
            _ENSURE_KEY, key_id, secret_hash, role.value, merchant_id, livemode, scopes
        )

    async def create_key(self, key: NewApiKey, *, note: AuditNote | None = None) -> None:
        """Store a new key."""
        await change_with_note(
            self.database,
            note,
            _CREATE_KEY,
            key.id,
            key.secret_hash,
            key.role.value,
            key.merchant_id,
            key.livemode,
            key.name,
            sorted(key.scopes),
            list(key.networks),
            key.expires_in,
        )

    async def rotate(
        self, key_id: str, secret_hash: bytes, overlap: timedelta, *, note: AuditNote | None = None
    ) -> dict[str, Any] | None:
        """Replace a key by one with this SHA-256 and the same scopes and addresses. The former key expires
        after `overlap`, or earlier if it had to.

        Returns the new key, with `former_id` and `former_expires_at`; None if no valid key without a
        replacement has this id.
        """
        new_id = key_id_of(secret_hash)
        await change_with_note(self.database, note, _ROTATE, key_id, new_id, secret_hash, overlap)
        # Read apart: a repeat after a lost connection finds the key replaced, by this very call.
        found = await self.database.repeat(_ROTATED, key_id, new_id)
        return dict(found[0].items()) if found else None

    async def record_use(self, seconds_ago: Mapping[str, float]) -> None:
        """Store when keys were last used, by how many seconds ago that was; at most once a minute a key."""
        await self.database.repeat(_RECORD_USE, list(seconds_ago), list(seconds_ago.values()))
