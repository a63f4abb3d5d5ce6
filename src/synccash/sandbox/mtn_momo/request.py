"""Reads requests as MTN does: a missing or malformed field refuses the request at once."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from synccash.sandbox.mtn_momo.tables import ERRORS
from synccash.sandbox.values import uuid4_text
from synccash.sandbox.wire import Call, RefusedError, Reply

_AMOUNT = re.compile(r"(?:0|[1-9]\d{0,14})(?:\.\d{1,2})?")
_NOTE = re.compile(r"[A-Za-z0-9 .,_-]{0,160}")


def error(code: str, message: str | None = None) -> Reply:
    """Return one of MTN's own errors, in MTN's shape."""
    status, text = ERRORS[code]
    return Reply.json(status, {"message": message or text, "code": code})


def gateway_error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an error of the gateway before MTN, which has a shape of its own."""
    return Reply.json(status, {"statusCode": status, "message": message}, headers)


def _bad(message: str) -> RefusedError:
    return RefusedError(error("BAD_REQUEST", message))


def reference(text: str | None) -> str:
    """Return the reference in lower case; only a UUID of version 4 in its hyphenated form is one."""
    found = uuid4_text(text)
    if found is None:
        raise _bad("X-Reference-Id must be a UUID version 4.")
    return found


def json_object(body: bytes) -> dict[str, Any]:
    """Return the body, which must be a JSON object."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise _bad(f"The body is not a JSON object: {problem}") from problem


def minor_units(amount: object) -> int:
    """Return the amount in minor units; on the wire it is a string in major units with up to two decimals."""
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        raise _bad("amount must be a string in major units, such as 10.50.")
    whole, _, fraction = amount.partition(".")
    minor = int(whole) * 100 + int(fraction.ljust(2, "0"))
    if minor == 0:
        raise _bad("amount must be above zero.")
    return minor


def notes(body: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a request. MTN refuses what is longer than 160 or holds special characters.

    Which characters are special is not published; an apostrophe and an ampersand are known to be.
    """
    found = {name: body[name] for name in ("externalId", "payerMessage", "payeeNote") if name in body}
    for name, value in found.items():
        if not isinstance(value, str):
            raise _bad(f"{name} must be a string.")
        if name != "externalId" and not _NOTE.fullmatch(value):
            raise _bad(f"{name} is longer than 160 characters or has special characters.")
    return found


def party(body: dict[str, Any], name: str) -> dict[str, str]:
    """Return the payer or payee."""
    try:
        found = msgspec.convert(body.get(name), dict[str, str])
    except msgspec.ValidationError:
        found = {}
    if found.get("partyIdType") != "MSISDN" or not found.get("partyId"):
        raise _bad(f"{name} must have partyIdType MSISDN and a partyId.")
    return {"partyIdType": "MSISDN", "partyId": found["partyId"]}


def callback_url(call: Call, registered: str) -> str | None:
    """Return the callback URL, refusing one whose host is not the registered one.

    MTN wants a host name, never an address; loopback addresses pass because they mean nothing to MTN at all.
    """
    url = call.headers.get("X-Callback-Url")
    if url is None:
        return None
    host = _host(url)
    if not url.startswith(("http://", "https://")) or not host:
        raise _bad("X-Callback-Url must be a full http(s) URL.")
    if host != _host(registered if "://" in registered else f"//{registered}") or _is_public_ip(host):
        raise RefusedError(error("INVALID_CALLBACK_URL_HOST"))
    return url


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_public_ip(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
