"""The words of an invalid field or parameter: what it takes, and what the caller may have meant."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from litestar.params import QueryParameter

from synccash.payments.money import from_major, to_major

_NEAR = 0.7
"""From which similarity on a name is proposed: at 0.6, the default, `payer` is close to `after`."""
_NEAR_VALUE = 0.85
"""The same for values such as event types, which share the beginning of their names."""
_MAX_NAME_LENGTH = 64
_OTHER_WORDS = MappingProxyType(
    {
        **dict.fromkeys(("phone", "phone_number", "phonenumber", "mobile", "mobile_number"), "msisdn"),
        **dict.fromkeys(("provider", "operator", "telco", "channel"), "network"),
        **dict.fromkeys(("external_id", "externalid", "reference_id", "client_reference"), "reference"),
        **dict.fromkeys(("narration", "note", "memo"), "description"),
    }
)
"""Words of other payment APIs, and what they are called here."""
_FORMER_NETWORKS = MappingProxyType(
    {
        **dict.fromkeys(("vodafone", "vodafone_cash", "vod", "vdf", "tcl", "telecel_cash"), "telecel"),
        **dict.fromkeys(("airteltigo", "airtel_tigo", "airtel", "tigo", "atl", "tgo", "at_money"), "at"),
        **dict.fromkeys(("mtn_momo", "momo", "mtn_mobile_money"), "mtn"),
    }
)
"""Former names of the networks, and those of other payment APIs."""
_CURRENCY = re.compile(r"(?:GHS|GH¢|GH₵|₵)", re.IGNORECASE)
_MAX_AMOUNT_LENGTH = 24


def pesewas_meant(value: object) -> str | None:
    """Tell an amount in cedis, or one in quotes, as this service takes it."""
    if isinstance(value, bool) or not isinstance(value, float | str):
        return None
    text = str(value)
    if len(text) > _MAX_AMOUNT_LENGTH:
        return None
    number = _CURRENCY.sub("", text, count=1).strip()
    try:
        pesewas = from_major(number)
    except ValueError:
        return None
    if isinstance(value, str) and number.isdecimal() and number == text.strip():
        return f"without quotes {number} is {to_major(int(number))} GHS"
    return f"{to_major(pesewas)} GHS is {pesewas}"


def network_meant(value: object) -> str | None:
    """Tell what a network is called here whose former name was given, or one in other letters."""
    if not isinstance(value, str):
        return None
    given = value[:_MAX_NAME_LENGTH].strip()
    name = given.lower().replace(" ", "_").replace("-", "_")
    now = _FORMER_NETWORKS.get(name, name)
    return f"{given} is {now} here" if now in _FORMER_NETWORKS.values() else None


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Return the text for a name that does not exist: the nearest of the known ones, or all of them.

    A known name may have a path before it, as in `payer.msisdn`; its last part is what is compared.
    """
    paths = sorted(known)
    if not paths:
        return f"unknown {what}; this call has none"
    last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    short = name[:_MAX_NAME_LENGTH].lower()
    word = _OTHER_WORDS.get(short, short)
    near = [word] if word in last else difflib.get_close_matches(word, last, n=1, cutoff=_NEAR)
    if near:
        return f"unknown {what}; did you mean {last[near[0]]}?"
    return f"unknown {what}; this call has {', '.join(paths)}"


def unknown_value(value: str, known: Sequence[str]) -> str:
    """Return the text for an element of a list that does not exist: the nearest known one, or all of them."""
    given = value[:_MAX_NAME_LENGTH]
    near = difflib.get_close_matches(given.lower(), known, n=1, cutoff=_NEAR_VALUE)
    hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(known)}"
    return f"{given} is unknown; {hint}"


def wrong_value(kind: Any, value: object) -> str | None:
    """Return what a type takes and what the value may have meant; None for a type without such a text."""
    text = expected(kind)
    if text is None:
        return None
    hints = (meta.extra["meant"](value) for meta in _metas(kind) if meta.extra and "meant" in meta.extra)
    meant = next((hint for hint in hints if hint), None)
    return f"expected {text}; {meant}" if meant else f"expected {text}"


def expected(kind: Any) -> str | None:
    """Return what a type takes, in words: its Meta(extra={"expected": …}), or its values."""
    for meta in _metas(kind):
        if meta.extra and "expected" in meta.extra:
            return str(meta.extra["expected"])
    values = list(_values(kind))
    return f"one of {', '.join(values)}" if len(values) > 1 else (values[0] if values else None)


def expected_parameter(kind: Any) -> str | None:
    """Return what a query parameter takes, in words."""
    plain, *metas = get_args(kind)
    limits = next((meta for meta in metas if isinstance(meta, QueryParameter)), None)
    types = [one for one in (get_args(plain) or (plain,)) if one is not type(None)]
    if values := list(_values(plain)):
        return f"one of {', '.join(values)}"
    if datetime in types:
        return "a time such as 2026-01-31T12:00:00Z, in a URL with %2B for +"
    if bool in types:
        return "true or false"
    if limits is None:
        return None
    if int in types and limits.ge is not None:
        return f"a whole number from {limits.ge}" + ("" if limits.le is None else f" to {limits.le}")
    if limits.pattern is not None:
        return f"text of the form {limits.pattern} ({limits.description})"
    return None if limits.max_length is None else f"at most {limits.max_length} characters"


def _metas(kind: Any) -> Iterator[msgspec.Meta]:
    if get_origin(kind) is Annotated:
        yield from (meta for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta))
    if get_origin(kind) is not Literal:
        for inner in get_args(kind):
            yield from _metas(inner)


def _values(kind: Any) -> Iterator[str]:
    """Yield the values of a closed list: an enumeration or literals, also where null is allowed."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield from (str(member.value) for member in kind)
    elif get_origin(kind) is Literal:
        yield from (str(value) for value in get_args(kind))
    elif get_origin(kind) not in (list, dict):
        for inner in get_args(kind):
            yield from _values(inner)


def field_paths(kind: type[msgspec.Struct]) -> Iterator[str]:
    """Yield the names of a body's fields, and those of the objects in it by dotted paths."""
    for field in msgspec.structs.fields(kind):
        inner = struct_of(field.type)
        if inner is None:
            yield field.encode_name
        else:
            yield from (f"{field.encode_name}.{path}" for path in field_paths(inner))


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the Struct type of a field, also of a nullable one."""
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
