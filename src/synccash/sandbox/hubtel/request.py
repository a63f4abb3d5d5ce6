"""Reads requests as Hubtel does: a missing or malformed field refuses the request at once."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from synccash.sandbox.wire import RefusedError, Reply

CHANNELS = frozenset({"mtn-gh", "vodafone-gh", "tigo-gh"})
_REFERENCE = re.compile(r"[A-Za-z0-9]{1,36}", re.ASCII)
_MSISDN = re.compile(r"233[0-9]{9}", re.ASCII)
# Its pages name these three; other signs may be refused too.
_REFUSED_SIGNS = re.compile(r"[&%^]")


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return one of Hubtel's own refusals. Which HTTP status goes with a code is our choice."""
    return Reply.json(status, {"Message": message, "ResponseCode": code, "Data": None}, headers)


def _invalid(message: str) -> RefusedError:
    return RefusedError(refusal(400, "4000", message))


def json_object(body: bytes) -> dict[str, Any]:
    """Return the body's object, its names in lower case: Hubtel's own pages spell them in more than one way.

    Numbers with a fraction come as Decimal, so that cents are cents.
    """
    try:
        given = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise _invalid("Validation errors: the body is no JSON object.") from problem
    return {name.lower(): value for name, value in given.items()}


def text(body: Mapping[str, Any], name: str) -> str:
    """Return a required text."""
    value: object = body.get(name.lower())
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"Validation errors: {name} is required.")
    return value


def description(body: Mapping[str, Any]) -> str:
    """Return the description; some signs in it fail a request."""
    value = text(body, "Description")
    if _REFUSED_SIGNS.search(value):
        raise _invalid("Validation errors: Description has invalid characters.")
    return value


def msisdn(body: Mapping[str, Any], name: str) -> str:
    """Return a number in its international form, without a plus."""
    value = text(body, name)
    if not _MSISDN.fullmatch(value):
        raise _invalid(f"Validation errors: {name} must be in international format.")
    return value


def channel(body: Mapping[str, Any]) -> str:
    """Return the channel."""
    value = text(body, "Channel")
    if value not in CHANNELS:
        raise RefusedError(
            refusal(403, "4103", "Permission denied. Not allowed to transact on this channel.")
        )
    return value


def client_reference(body: Mapping[str, Any]) -> str:
    """Return the caller's reference: at most 36 letters and digits."""
    value = text(body, "ClientReference")
    if not _REFERENCE.fullmatch(value):
        raise _invalid("Validation errors: ClientReference must be alphanumeric, at most 36 characters.")
    return value


def pesewas(body: Mapping[str, Any]) -> int:
    """Return the amount; on the wire it is a number in cedis with at most two decimals."""
    value: object = body.get("amount")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _invalid("Validation errors: Amount must be a number.")
    minor = Decimal(value) * 100
    if not 0 < minor <= 10**14 or minor != minor.to_integral_value():
        raise _invalid("Validation errors: Amount must be above 0 with at most 2 decimal places.")
    return int(minor)
