"""Sessions of merchants' people in the console. Only the SHA-256 of a session's token is stored."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from synccash.payments.access import AccessScope, CallerKind, Credential, Principal
from synccash.payments.audit import AuditNote
from synccash.payments.request import Tenant
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database

TOKEN_PREFIX = "sk_session_"  # noqa: S105 - the form of all secrets of callers; logs mask it
LENGTH = timedelta(hours=8)
_OF_A_KEY = 20
_BEGIN = f"""
WITH ended AS (
    DELETE FROM merchant_sessions WHERE token_hash IN (
        SELECT token_hash FROM merchant_sessions WHERE expires_at < now() ORDER BY expires_at LIMIT 100
    )
),
older AS (
    DELETE FROM merchant_sessions WHERE token_hash IN (
        SELECT token_hash FROM merchant_sessions WHERE api_key_id = $2
        ORDER BY created_at DESC OFFSET {_OF_A_KEY - 1}
    )
)
INSERT INTO merchant_sessions (token_hash, api_key_id, expires_at) VALUES ($1, $2, now() + $3::interval)
ON CONFLICT (token_hash) DO NOTHING RETURNING token_hash
"""  # noqa: S608 - put together from constants
# A session has what its key has now: a key that was revoked or lost its scope ends its sessions.
_VALID = f"""
FROM merchant_sessions s JOIN api_keys k ON k.id = s.api_key_id
WHERE s.expires_at > now() AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
    AND k.merchant_id IS NOT NULL AND '{AccessScope.PAYMENTS_READ.value}' = ANY (k.scopes)
"""
_CREDENTIAL = f"""
SELECT k.id, k.merchant_id, k.livemode, k.allowed_ips,
    extract(epoch FROM least(s.expires_at, k.expires_at) - now())::float8 AS expires_in_s
{_VALID} AND s.token_hash = $1
"""  # noqa: S608 - put together from constants
_GOOD = f"SELECT s.token_hash {_VALID} ORDER BY s.created_at DESC LIMIT 10000"
_END = "DELETE FROM merchant_sessions WHERE token_hash = $1"


@dataclass(frozen=True, slots=True)
class PostgresMerchantSessions:
    """Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def begin(self, key: Principal, tenant: Tenant) -> str:
        """Begin a session for the holder of a merchant's key, and return its token. The oldest of its key
        beyond 20 end."""
        token = TOKEN_PREFIX + secrets.token_hex(24)
        note = AuditNote(
            actor=key.actor_id,
            action="merchant_sign_in",
            target=tenant.merchant_id,
            merchant_id=tenant.merchant_id,
            details={"livemode": tenant.livemode},
        )
        await change_with_note(self.database, note, _BEGIN, _hash(token), key.actor_id, LENGTH)
        return token

    async def credential(self, token_hash: bytes) -> Credential | None:
        """Return what a session may do: read what belongs to the merchant, in the mode of its key. None if it
        has ended."""
        found = await self.database.repeat(_CREDENTIAL, token_hash)
        if not found:
            return None
        key_id, merchant_id, livemode, allowed_ips, expires_in_s = found[0].values()
        scopes = frozenset({AccessScope.PAYMENTS_READ})
        principal = Principal(key_id, CallerKind.MERCHANT_KEY, Tenant(merchant_id, livemode), scopes)
        return Credential(principal, expires_in_s, tuple(allowed_ips))

    async def good(self) -> frozenset[bytes]:
        """Return the hashes of the newest 10,000 sessions that are valid now."""
        return frozenset([row["token_hash"] for row in await self.database.repeat(_GOOD)])

    async def end(self, token_hash: bytes) -> None:
        """End a session; processes stop accepting it within 5 s."""
        await self.database.repeat(_END, token_hash)


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
