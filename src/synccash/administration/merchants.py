"""Merchants and API keys: adds, lists, suspends and revokes them, directly in PostgreSQL."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from synccash.administration.database import with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.engine.system import SystemIdentities
from synccash.payments.request import Role
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys

T = TypeVar("T")
_NAME_MAX = 100
_REASON_MAX = 200


def add_merchant(settings: Settings, name: str) -> dict[str, Any]:
    """Adds a merchant and returns it. Raises AdministrationError."""
    name = name.strip()
    if not 0 < len(name) <= _NAME_MAX or not name.isprintable():
        raise AdministrationError(f"NAME: expected 1 to {_NAME_MAX} printable characters")
    merchant_id = SystemIdentities().new("mer")

    async def make(database: Database) -> None:
        await write_audit_entry(database, "merchant_add", merchant_id, name)
        await PostgresKeys(database).ensure_merchant(merchant_id, name)

    with_database(settings, make)
    return {"id": merchant_id, "name": name}


def list_merchants(settings: Settings) -> Sequence[dict[str, Any]]:
    """Returns all merchants, oldest first. Raises AdministrationError."""
    return _with_keys(settings, lambda keys: keys.merchants())


def suspend_merchant(settings: Settings, merchant_id: str, reason: str) -> dict[str, Any]:
    """Refuses new orders of a merchant; open orders are completed. Raises AdministrationError."""
    reason = _reason(reason)

    async def suspend(database: Database) -> bool:
        await write_audit_entry(database, "merchant_suspend", merchant_id, reason)
        return await PostgresKeys(database).suspend(merchant_id, reason)

    if not with_database(settings, suspend):
        raise AdministrationError(
            f"No merchant has the id {merchant_id}. List them with: synccash merchants list"
        )
    return {"id": merchant_id, "suspended": True, "reason": reason}


def resume_merchant(settings: Settings, merchant_id: str, reason: str) -> dict[str, Any]:
    """Ends a merchant's suspension. Raises AdministrationError."""
    reason = _reason(reason)

    async def resume(database: Database) -> bool:
        await write_audit_entry(database, "merchant_resume", merchant_id, reason)
        return await PostgresKeys(database).resume(merchant_id)

    if not with_database(settings, resume):
        raise AdministrationError(
            f"{merchant_id} is not a suspended merchant. List them with: synccash merchants list"
        )
    return {"id": merchant_id, "suspended": False, "reason": reason}


def _reason(text: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= _REASON_MAX or not text.isprintable():
        raise AdministrationError(f"--reason: expected 1 to {_REASON_MAX} printable characters")
    return text


def create_key(
    settings: Settings, *, merchant: str | None, live: bool, test: bool, admin: bool
) -> dict[str, Any]:
    """Creates a key and returns it with its secret, which is not stored. Raises AdministrationError."""
    if admin == (merchant is not None):
        raise AdministrationError(
            "Give either --merchant ID, for a merchant's key, or --admin, for an admin key"
        )
    if admin and (live or test):
        raise AdministrationError("An admin key has no mode: leave out --live and --test")
    if not admin and live == test:
        raise AdministrationError(
            "Give either --live, for a key that moves real money, or --test, for one that never does"
        )
    kind = "admin" if admin else "live" if live else "test"
    secret = f"sk_{kind}_{secrets.token_hex(24)}"
    hashed = sha256(secret.encode()).digest()
    role = Role.ADMIN if admin else Role.MERCHANT

    async def make(database: Database) -> None:
        keys = PostgresKeys(database)
        if merchant is not None and merchant not in {one["id"] for one in await keys.merchants()}:
            raise AdministrationError(
                f"No merchant has the id {merchant}. List them with: synccash merchants list"
            )
        await write_audit_entry(
            database, "key_create", keys_id(hashed), f"{kind} key of {merchant or 'an operator'}"
        )
        await keys.ensure_key(hashed, role, merchant_id=merchant, livemode=live)

    with_database(settings, make)
    return {"id": keys_id(hashed), "role": role.value, "merchant_id": merchant, "secret": secret}


def list_keys(settings: Settings) -> Sequence[dict[str, Any]]:
    """Returns all keys without their secrets, oldest first. Raises AdministrationError."""
    return _with_keys(settings, lambda keys: keys.keys())


def revoke_key(settings: Settings, key_id: str) -> dict[str, Any]:
    """Revokes a key. Running processes stop accepting it within 5 s. Raises AdministrationError."""

    async def end(database: Database) -> bool:
        await write_audit_entry(database, "key_revoke", key_id)
        return await PostgresKeys(database).revoke(key_id)

    if not with_database(settings, end):
        raise AdministrationError(f"No active key has the id {key_id}. List them with: synccash keys list")
    return {"id": key_id, "revoked": True}


def keys_id(hashed: bytes) -> str:
    """Returns the public id of a key, derived from the hash of its secret."""
    return f"key_{hashed.hex()[:16]}"


def _with_keys(settings: Settings, work: Callable[[PostgresKeys], Awaitable[T]]) -> T:
    return with_database(settings, lambda database: work(PostgresKeys(database)))
