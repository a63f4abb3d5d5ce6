"""Reads the options of the commands for API keys."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

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

T = TypeVar("T")
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def new_key(
    *,
    merchant: str | None,
    live: bool,
    test: bool,
    admin: bool,
    name: str = "",
    scopes: str | None = None,
    ips: str | None = None,
    expires_in: str | None = None,
) -> NewApiKey:
    """Returns the key that the options of `synccash keys create` describe. Raises AdministrationError.

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
        expires_in=None if expires_in is None else read_duration("--expires-in", expires_in, EXPIRY_MAX),
    )
    if key.expires_in == timedelta():
        raise AdministrationError("--expires-in: expected more than no time; revoke a key to end it now")

    return key


def read_overlap(text: str) -> timedelta:
    """Returns how long a replaced key stays valid. Raises AdministrationError."""
    return read_duration("--overlap", text, OVERLAP_MAX)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _read(option: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise AdministrationError(f"{option}: {error}") from error


def read_duration(option: str, text: str, longest: timedelta) -> timedelta:
    """Returns a duration such as 24h. Raises AdministrationError."""
    match = _DURATION.fullmatch(text.strip())
    found = None if match is None else int(match[1]) * _UNITS[match[2]]
    if found is None or found > longest:
        raise AdministrationError(
            f"{option}: expected a whole number with s, m, h or d, at most {longest.days}d, such as 24h"
        )
    return found
