"""Reads the credentials in the Authorization header of a request."""

import base64
import binascii

from synccash.sandbox.wire import Call


def basic_credentials(call: Call) -> tuple[str, str]:
    """Return user and password of Basic credentials; two empty strings if there are none."""
    scheme, secret = _authorization(call)
    try:
        user, _, password = base64.b64decode(secret, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (user, password) if scheme == "basic" else ("", "")


def bearer_token(call: Call) -> str | None:
    """Return the token after `Bearer`, which may be empty; None for another scheme or no header."""
    scheme, token = _authorization(call)
    return token if scheme == "bearer" else None


def _authorization(call: Call) -> tuple[str, str]:
    scheme, _, secret = call.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), secret
