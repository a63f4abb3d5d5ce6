"""Merchants and API keys in PostgreSQL. Only the SHA-256 of a key's secret is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synccash.payments.access import ADMIN_SCOPES, MERCHANT_SCOPES, CallerKind, Principal
from synccash.payments.request import Role, Tenant
from synccash.stores.postgres.database import Database

_PRINCIPAL = """
SELECT id, role, merchant_id, livemode FROM api_keys WHERE secret_hash = $1 AND revoked_at IS NULL
"""
_GOOD = """
SELECT secret_hash FROM api_keys WHERE revoked_at IS NULL ORDER BY created_at DESC LIMIT 100000
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
SELECT id, role, merchant_id, livemode, created_at, revoked_at FROM api_keys ORDER BY created_at, id
"""
_REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id"
_ENSURE_MERCHANT = """
INSERT INTO merchants (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING
"""
_ENSURE_KEY = """
INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (secret_hash) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class PostgresKeys:
    """Stores merchants and API keys. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def principal(self, secret_hash: bytes) -> Principal | None:
        """Return the principal of the key with this SHA-256; None if it does not exist or was revoked."""
        found = await self.database.repeat(_PRINCIPAL, secret_hash)
        if not found:
            return None
        key_id, role, merchant_id, livemode = found[0].values()
        if Role(role) is Role.ADMIN:
            return Principal(key_id, CallerKind.ADMIN_KEY, None, ADMIN_SCOPES)
        return Principal(key_id, CallerKind.MERCHANT_KEY, Tenant(merchant_id, livemode), MERCHANT_SCOPES)

    async def good(self) -> frozenset[bytes]:
        """Return the hashes of the newest 100,000 keys that are not revoked."""
        return frozenset([row["secret_hash"] for row in await self.database.repeat(_GOOD)])

    async def tenants(self) -> Sequence[str]:
        """Return up to 200 tenants: each merchant as `merchant:test` and `merchant:live`."""
        return [row["tenant"] for row in await self.database.repeat(_TENANTS)]

    async def merchants(self) -> Sequence[dict[str, Any]]:
        """Return all merchants, oldest first, with the time and reason of a suspension."""
        return [dict(row.items()) for row in await self.database.repeat(_MERCHANTS)]

    async def suspend(self, merchant_id: str, reason: str) -> bool:
        """Suspend a merchant: no new order is opened for it. Returns False if there is no such merchant."""
        return bool(await self.database.repeat(_SUSPEND, merchant_id, reason))

    async def resume(self, merchant_id: str) -> bool:
        """End a suspension. Returns False if the merchant is not suspended."""
        return bool(await self.database.repeat(_RESUME, merchant_id))

    async def keys(self) -> Sequence[dict[str, Any]]:
        """Return all keys, oldest first, without their hashes."""
        return [dict(row.items()) for row in await self.database.repeat(_KEYS)]

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key. Returns False if no key with this id exists that is not revoked."""
        return bool(await self.database.repeat(_REVOKE, key_id))

    async def ensure_merchant(self, merchant_id: str, name: str) -> None:
        """Create the merchant if no merchant has this id; an existing one is not changed."""
        await self.database.repeat(_ENSURE_MERCHANT, merchant_id, name)

    async def ensure_key(
        self, secret_hash: bytes, role: Role, *, merchant_id: str | None, livemode: bool
    ) -> None:
        """Create a key with this SHA-256. An existing key is not changed: a revoked one stays revoked.

        An operator's key has no merchant.
        """
        key_id = f"key_{secret_hash.hex()[:16]}"
        await self.database.repeat(_ENSURE_KEY, key_id, secret_hash, role.value, merchant_id, livemode)
