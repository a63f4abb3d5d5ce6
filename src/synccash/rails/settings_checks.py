"""Checks of a rail's settings. Each returns one line for each problem; the line names the setting."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from synccash.payments.rail import Environment
from synccash.rails.callback_token import EXPECTED, is_fit
from synccash.settings.loader import Settings
from synccash.settings.secret import revealed

Proof = tuple[Environment, str]
"""The environment that an account provably has, and the proof."""


def given_keys(settings: Settings, keys: Sequence[str]) -> list[str]:
    """Return the keys that have a value."""
    return [key for key in keys if getattr(settings, key)]


def missing(keys: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return a problem for each key that is not among the given ones."""
    return [f"{key} is missing; {given[0]} is given" for key in keys if key not in given]


def unfit_for_headers(settings: Settings, keys: Sequence[str]) -> list[str]:
    """Return a problem for each key whose value cannot be sent in an HTTP header."""
    return [
        f"{key} must be printable ASCII without blanks; was a line break copied with it?"
        for key in keys
        if not _is_header_text(revealed(getattr(settings, key)))
    ]


def unfit_as_address(key: str, url: str) -> list[str]:
    """Return a problem where the value of a key is not the base address of an API."""
    if is_address(url):
        return []
    return [f"{key} must be http(s)://host[:port][/path], without user, query or #"]


def unfit_as_callback_token(settings: Settings, rail: str) -> list[str]:
    """Return a problem where the callback token can be guessed, or does not fit into an address."""
    key = f"{rail}_callback_token"
    token = getattr(settings, key)
    return [] if token is None or is_fit(token) else [f"{key} {EXPECTED}"]


def contradicted_environment(settings: Settings, rail: str, proof: Proof | None) -> list[str]:
    """Return a problem where `<rail>_environment` is not declared, or `proof` contradicts it."""
    key = f"{rail}_environment"
    declared = getattr(settings, key)
    if declared is None:
        return [f"{key} is missing: write live where this account moves real money, test where it does not"]
    if proof is None or proof[0].value == declared:
        return []
    return [f"{key} is {declared}, but {proof[1]}: that account is {proof[0].value}; correct one of them"]


def is_address(url: str) -> bool:
    """Return True for the base address of an API: HTTP or HTTPS, without user, query or fragment."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.username or parts.password or parts.query or parts.fragment)
        )
    except ValueError:
        return False


def _is_header_text(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value
