"""API keys: creates, lists, rotates and revokes them, directly in PostgreSQL."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar

from synccash.administration.database import with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.payments.api_key import (
    EXPIRY_MAX,
    NAME_MAX,
    OVERLAP_MAX,
    NewApiKey,
    new_secret,
    read_networks,
    read_scopes,
)
from synccash.payments.request import Role
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys

T = TypeVar("T")
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def create_key(
    settings: Settings,
    *,
    merchant: str | None,
    live: bool,
    test: bool,
    admin: bool,
    name: str = "",
    scopes: str | None = None,
    ips: str | None = None,
    expires_in: str | None = None,
) -> dict[str, Any]:
    """Creates a key and returns it with its secret, which is not stored. Raises AdministrationError.

    `scopes` and `ips` are lists with commas; `expires_in` is a time such as 90d. Without `scopes` a
    merchant's key has all but payouts:write.
    """
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
    role = Role.ADMIN if admin else Role.MERCHANT
    name = name.strip()
    if len(name) > NAME_MAX or not (name == "" or name.isprintable()):
        raise AdministrationError(f"--name: expected at most {NAME_MAX} printable characters")
    key = NewApiKey(
        secret=new_secret(role, livemode=live),
        role=role,
        merchant_id=merchant,
        livemode=live,
        scopes=_read("--scopes", lambda: read_scopes(None if scopes is None else _listed(scopes), role)),
        name=name,
        networks=_read("--ips", lambda: read_networks(_listed(ips or ""))),
        expires_in=None if expires_in is None else _time("--expires-in", expires_in, EXPIRY_MAX),
    )
    if key.expires_in == timedelta():
        raise AdministrationError("--expires-in: expected more than no time; revoke a key to end it now")

    async def make(database: Database) -> None:
        keys = PostgresKeys(database)
        if merchant is not None and merchant not in {one["id"] for one in await keys.merchants()}:
            raise AdministrationError(
                f"No merchant has the id {merchant}. List them with: synccash merchants list"
            )
        kind = "admin" if admin else "live" if live else "test"
        told = f"{kind} key of {merchant or 'an operator'}: {', '.join(sorted(key.scopes))}"
        await write_audit_entry(database, "key_create", key.id, told)
        await keys.create_key(key)

    with_database(settings, make)
    return {
        "id": key.id,
        "role": role.value,
        "merchant_id": merchant,
        "name": name,
        "scopes": sorted(key.scopes),
        "allowed_ips": [str(network) for network in key.networks],
        "expires_in_s": None if key.expires_in is None else key.expires_in.total_seconds(),
        "secret": key.secret,
    }


def rotate_key(settings: Settings, key_id: str, overlap: str) -> dict[str, Any]:
    """Makes a new key with the scopes and addresses of a key, which expires after `overlap`, such as 24h.

    Returns the new key with its secret. Raises AdministrationError.
    """
    both_valid = _time("--overlap", overlap, OVERLAP_MAX)

    async def rotate(database: Database) -> tuple[str, dict[str, Any] | None]:
        keys = PostgresKeys(database)
        former = next((one for one in await keys.keys() if one["id"] == key_id), None)
        if former is None:
            return "", None
        secret = new_secret(Role(former["role"]), livemode=former["livemode"])
        await write_audit_entry(database, "key_rotate", key_id, f"the former key stays valid for {overlap}")
        return secret, await keys.rotate(key_id, sha256(secret.encode()).digest(), both_valid)

    secret, made = with_database(settings, rotate)
    if made is None:
        raise AdministrationError(
            f"No valid key that has no replacement has the id {key_id}. List them with: synccash keys list"
        )
    return {**made, "secret": secret}


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


def _with_keys(settings: Settings, work: Callable[[PostgresKeys], Awaitable[T]]) -> T:
    return with_database(settings, lambda database: work(PostgresKeys(database)))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _read(option: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise AdministrationError(f"{option}: {error}") from error


def _time(option: str, text: str, longest: timedelta) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    found = None if match is None else int(match[1]) * _UNITS[match[2]]
    if found is None or found > longest:
        raise AdministrationError(
            f"{option}: expected a whole number with s, m, h or d, at most {longest.days}d, such as 24h"
        )
    return found
