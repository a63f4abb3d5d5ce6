"""What an operator does from a shell with merchants and keys. Every command speaks to PostgreSQL directly."""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.request import Role
from synccash.settings import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys
from synccash.stores.postgres.pool import connect
from synccash.system import SystemIdentities

T = TypeVar("T")
_LONGEST_NAME = 100


class AdministrationError(Exception):
    """It cannot be done; the text says what to do."""


def add_merchant(settings: Settings, name: str) -> dict[str, Any]:
    """Make a merchant and return it. Raises AdministrationError."""
    name = name.strip()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise AdministrationError(f"NAME: expected 1 to {_LONGEST_NAME} printable characters")
    merchant_id = SystemIdentities().new("mer")
    _with_keys(settings, lambda keys: keys.ensure_merchant(merchant_id, name))
    return {"id": merchant_id, "name": name}


def list_merchants(settings: Settings) -> Sequence[dict[str, Any]]:
    """All merchants, oldest first. Raises AdministrationError."""
    return _with_keys(settings, lambda keys: keys.merchants())


def create_key(settings: Settings, *, merchant: str | None, live: bool, admin: bool) -> dict[str, Any]:
    """Make a key and return it with its secret, which is shown this once. Raises AdministrationError."""
    if admin == (merchant is not None):
        raise AdministrationError("say --merchant ID for a merchant's key, or --admin for an operator's")
    kind = "admin" if admin else "live" if live else "test"
    secret = f"sk_{kind}_{secrets.token_hex(24)}"
    hashed = sha256(secret.encode()).digest()
    role = Role.ADMIN if admin else Role.MERCHANT

    async def make(keys: PostgresKeys) -> None:
        if merchant is not None and merchant not in {one["id"] for one in await keys.merchants()}:
            raise AdministrationError(f"there is no merchant {merchant}: see `synccash merchants list`")
        await keys.ensure_key(hashed, role, merchant_id=merchant, livemode=live)

    _with_keys(settings, make)
    return {"id": keys_id(hashed), "role": role.value, "merchant_id": merchant, "secret": secret}


def list_keys(settings: Settings) -> Sequence[dict[str, Any]]:
    """All keys without their secrets, oldest first. Raises AdministrationError."""
    return _with_keys(settings, lambda keys: keys.keys())


def revoke_key(settings: Settings, key_id: str) -> dict[str, Any]:
    """End a key. Processes that know it forget it within 5 s. Raises AdministrationError."""
    if not _with_keys(settings, lambda keys: keys.revoke(key_id)):
        raise AdministrationError(f"there is no key {key_id} that could be revoked: see `synccash keys list`")
    return {"id": key_id, "revoked": True}


def keys_id(hashed: bytes) -> str:
    """The public name of a key, made from the hash of its secret."""
    return f"key_{hashed.hex()[:16]}"


def tell(found: dict[str, Any] | Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print objects: as JSON, or a line each."""
    if as_json:
        print(json.dumps(found, default=str, ensure_ascii=False))
        return
    for one in [found] if isinstance(found, dict) else found:
        print("  ".join(f"{name} {value}" for name, value in one.items() if value is not None))


def _with_keys(settings: Settings, work: Callable[[PostgresKeys], Awaitable[T]]) -> T:
    url = settings.database_url
    if url is None:
        raise AdministrationError("SYNCCASH_DATABASE_URL is not set: say where PostgreSQL is")

    async def run() -> T:
        pool = await connect(url, min_size=0, max_size=1)
        try:
            return await work(PostgresKeys(Database(pool)))
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except StoreUnavailableError as error:
        raise AdministrationError(
            f"{error}; is SYNCCASH_DATABASE_URL right, and `synccash migrate` run?"
        ) from error


def refuse(error: AdministrationError) -> int:
    """Say why not; return the exit code."""
    print(f"synccash: {error}", file=sys.stderr)
    return 1
