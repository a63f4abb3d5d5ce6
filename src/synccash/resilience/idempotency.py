"""Parses Idempotency-Key headers and computes the fingerprint that tells whether two requests are the same.

Pure functions, standard library only. Claims and stored answers are in `claims` and `stored_answers`.
"""

import json
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import parse_qsl

KEY_MAX = 255
_T = TypeVar("_T")
_R = TypeVar("_R")
_WITHOUT_QUERY = b"\x01"
_WITH_QUERY = b"\x02"
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?", re.ASCII)
_EXPONENT_DIGITS = 18


class IdempotencyKeyError(ValueError):
    """The Idempotency-Key header is missing or invalid; the message says what is expected."""


class NotJsonError(ValueError):
    """The bytes are not a JSON text in UTF-8 (RFC 8259), or one that is nested too deeply or has too many
    values."""


class DuplicateMemberError(ValueError):
    """A JSON object has the same member name twice, which makes it ambiguous (RFC 7493, 2.3)."""

    def __init__(self, name: str) -> None:
        super().__init__("given more than once")
        self.name = name


def idempotency_key(headers: Sequence[bytes]) -> str:
    """Return the key from the values of all `Idempotency-Key` headers of one request.

    A key has 1 to 255 visible ASCII characters. A structured-field string (`"abc"`, RFC 9651) and the bare
    `abc` are the same key; identical headers count once. Raises IdempotencyKeyError.
    """
    if not headers:
        raise IdempotencyKeyError("send an Idempotency-Key header: a fresh random value for each new order")
    keys = {_unquoted(value.decode("latin-1").strip(" \t")) for value in headers}
    if len(keys) > 1:
        raise IdempotencyKeyError("the request has two different Idempotency-Key headers: send one")
    (key,) = keys
    if not _VISIBLE.fullmatch(key):
        raise IdempotencyKeyError(f"Idempotency-Key: expected 1 to {KEY_MAX} visible ASCII characters")
    return key


def _unquoted(value: str) -> str:
    """Return the content of a structured-field string; any other value is returned unchanged."""
    if len(value) < 2 or not (value[0] == value[-1] == '"'):
        return value
    inner = value[1:-1]
    plain = re.sub(r"\\([\"\\])", r"\1", inner)
    return value if '"' in re.sub(r"\\[\"\\]", "", inner) else plain


def read_json(raw: bytes, *, values_max: int | None = None) -> Any:
    """Decode JSON strictly: UTF-8 without a byte order mark, no NaN, no duplicate members, exact numbers.

    A number becomes its canonical text in a one-tuple, so that 1, 1.0 and 10e-1 are equal and no number is
    rounded. `values_max` limits the numbers, and the objects with their members: numbers are read in Python,
    which takes up to 2 µs for one, and each member costs about 1 µs more where it is compared, hashed and
    refused by its name. A small body can hold 16,000 of either. Raises NotJsonError and DuplicateMemberError.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError(f"the body is not UTF-8 (byte {error.start})") from error
    if text.startswith("\ufeff"):
        raise NotJsonError("the body begins with a byte order mark: leave it out (RFC 8259, 8.1)")
    number: Callable[[str], object] = _number
    members: Callable[[list[tuple[str, Any]]], object] = _object_members
    if values_max is not None:
        number = _limited(_number, values_max, "numbers", lambda _: 1)
        members = _limited(_object_members, values_max, "objects and members", lambda pairs: 1 + len(pairs))
    try:
        return json.loads(
            text,
            parse_int=number,
            parse_float=number,
            parse_constant=_reject_constant,
            object_pairs_hook=members,
        )
    except (DuplicateMemberError, NotJsonError):
        raise
    except RecursionError as error:
        raise NotJsonError("the body is nested too deeply") from error
    except ValueError as error:
        raise NotJsonError(f"the body is not JSON: {error}") from error


def fingerprint(path: str, body: Any, query: bytes | None = None) -> bytes:
    """Return a version byte and the SHA-256 of the concrete path, the body that `read_json` returned, and the
    raw query string where one is given.

    The order of members, of query parameters with different names, and the notation of numbers and strings do
    not change the fingerprint. An empty query and None give different fingerprints.
    """
    covered = [path, body] if query is None else [path, _query_parameters(query), body]
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":"))
    version = _WITHOUT_QUERY if query is None else _WITH_QUERY
    return version + sha256(canonical.encode()).digest()


def _query_parameters(query: bytes) -> list[tuple[str, str]]:
    """Return the parameters by name. Those with the same name keep their order, which may mean something."""
    parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    return sorted(parameters, key=lambda parameter: parameter[0])


def _limited(
    read: Callable[[_T], _R], most: int, what: str, count: Callable[[_T], int]
) -> Callable[[_T], _R]:
    """Return `read`, which raises NotJsonError when the counts of its values exceed `most`."""
    left = most

    def read_one(value: _T) -> _R:
        nonlocal left
        left -= count(value)
        if left < 0:
            raise NotJsonError(f"the body has more than {most:,} {what}")
        return read(value)

    return read_one


def _object_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise DuplicateMemberError(_first_duplicate(pairs))
    return members


def _first_duplicate(pairs: list[tuple[str, Any]]) -> str:
    """Return the first duplicate name. One pass, because the client chooses the number of members."""
    seen = set[str]()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name is given twice")


def _reject_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _number(lexeme: str) -> tuple[str] | tuple[str, None]:
    """Return the canonical text of a number: digits and a power of ten, one text for each value.

    Exponents of more than 18 digits keep their notation, because computing with them would be too expensive.
    The tuple distinguishes a number from a string of the same text. An array that holds only this text has
    the same fingerprint, which is harmless: no request accepts a number and an array in the same place.
    Raises ValueError for a text that is not a JSON number.
    """
    # A body of 64 KiB can hold 32,000 whole numbers: 12 ms this way, 39 ms with the regular expression.
    if lexeme.isdecimal() and lexeme.isascii():
        short = lexeme.rstrip("0")
        return (f"{short}e{len(lexeme) - len(short)}",) if short else ("0",)
    match = _NUMBER.fullmatch(lexeme)
    if match is None:
        raise ValueError(f"{lexeme} is not a JSON number")
    sign, whole, fraction, exponent_sign, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return ("0",)
    if len(exponent) > _EXPONENT_DIGITS:
        return (lexeme.lower(), None)
    short = digits.rstrip("0")
    power = int(exponent_sign + (exponent or "0")) - len(fraction) + len(digits) - len(short)
    return (f"{sign}{short}e{power}",)
