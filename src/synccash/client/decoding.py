"""Decodes JSON objects into dataclasses: ignores unknown members, and rejects objects without needed ones."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, TypeVar

Json = Mapping[str, Any]
T = TypeVar("T")


class UnreadableError(Exception):
    """The response does not have the form that the API specifies."""


def made(kind: type[T], source: Any, /, **own: Any) -> T:
    """Create a value from the members that its class has; `own` are members that are already decoded.

    Raises UnreadableError if a member without a default is missing.
    """
    known = mapping(source)
    needed, possible = _members(kind)
    given = {name: known[name] for name in possible if name in known} | own
    if missing := [name for name in needed if name not in given]:
        raise UnreadableError(f"a {kind.__name__} without {', '.join(missing)}")
    return kind(**given)


def mapping(raw: Any) -> Json:
    """Return `raw` if it is a JSON object, else raise UnreadableError."""
    if not isinstance(raw, dict):
        raise UnreadableError("a JSON object was expected")
    return raw  # pyright: ignore[reportUnknownVariableType]


def one(kind: type[T], raw: Any) -> T | None:
    """Create a value from an object, or return None for null."""
    return None if raw is None else made(kind, raw)


def member(raw: Any, name: str) -> Any:
    """Return a member of an object; None if it is missing or `raw` is not an object."""
    return raw.get(name) if isinstance(raw, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def items(raw: Any, name: str) -> list[Any]:
    """Return a member that is a list; an empty list if it is missing or not a list."""
    found = member(raw, name)
    return found if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType]


def moment(raw: Any, name: str) -> datetime:
    """Read an RFC 3339 time. Raises UnreadableError."""
    text = member(raw, name)
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise UnreadableError(f"{name} is no time: {text!r}") from None


def _members(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the fields without a default, and the names of all fields."""
    known = fields(kind)
    needed = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]
    return tuple(needed), tuple(one.name for one in known)
