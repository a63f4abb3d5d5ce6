"""Reads requests as Paystack does, and builds its answers and errors."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from synccash.sandbox.wire import Call, RefusedError, Reply

_LOCAL = re.compile(r"0\d{9}")


def success(message: str, data: object, status: int = 200, *, meta: Mapping[str, Any] | None = None) -> Reply:
    """Return a successful answer of Paystack's; `meta` goes with a list."""
    body: dict[str, Any] = {"status": True, "message": message, "data": data}
    return Reply.json(status, body if meta is None else body | {"meta": meta})


def error(status: int, message: str, code: str | None = None, kind: str = "validation_error") -> Reply:
    """Return one of Paystack's errors; without a code in the older form, which has only a message."""
    body: dict[str, Any] = {"status": False, "message": message}
    if code is not None:
        body |= {"meta": {"nextStep": "See the documentation"}, "type": kind, "code": code}
    return Reply.json(status, body)


def json_object(call: Call) -> dict[str, Any]:
    """Return the body, which must be a JSON object."""
    try:
        return msgspec.json.decode(call.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError(error(400, "Invalid JSON body", "invalid_params")) from None


def nested(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside the body that must be there."""
    try:
        return msgspec.convert(body.get(name), dict[str, Any])
    except msgspec.ValidationError:
        raise RefusedError(error(400, f"{name} is required", "missing_params")) from None


def text(body: dict[str, Any], name: str) -> str:
    """Return a text that must be there."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(error(400, f"{name} is required", "missing_params"))
    return value


def optional_text(body: dict[str, Any], name: str) -> str | None:
    """Return a text that may be missing."""
    value = body.get(name)
    return value if isinstance(value, str) else None


def pesewas(body: dict[str, Any]) -> int:
    """Return the amount: an integer of pesewas, also as text, since real clients send both."""
    value = body.get("amount")
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,13}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RefusedError(error(400, "Amount is not valid", "invalid_params"))
    return value


def cedis(body: dict[str, Any], usual: str | None = None) -> None:
    """Refuse any currency but GHS. A body without one is in `usual`."""
    if body.get("currency", usual) != "GHS":
        raise RefusedError(error(403, "Currency not supported by merchant", "unsupported_currency"))


def phone(number: str) -> str:
    """Return a number in its local form; a charge to any other is refused."""
    if not _LOCAL.fullmatch(number):
        raise RefusedError(error(400, "Invalid phone number", "invalid_params"))
    return number
