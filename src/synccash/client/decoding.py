"""From JSON to values: members that we do not know are left out, members that we need must be there."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

Json = Mapping[str, Any]
T = TypeVar("T")


class UnreadableError(Exception):
    """The answer is none of ours."""


def made(kind: type[T], source: Any, /, **own: Any) -> T:
    """Make a value of the members that it knows; `own` are those that had to be read first.

    Raises UnreadableError where a member is missing that the value cannot be without.
    """
    known = mapping(source)
    needed, possible = _members(kind)
    given = {name: known[name] for name in possible if name in known} | own
    if missing := [name for name in needed if name not in given]:
        raise UnreadableError(f"a {kind.__name__} without {', '.join(missing)}")
    return kind(**given)


def mapping(raw: Any) -> Json:
    """What has to be a JSON object. Raises UnreadableError."""
    if not isinstance(raw, dict):
        raise UnreadableError("a JSON object was expected")
    return raw  # pyright: ignore[reportUnknownVariableType]


def one(kind: type[T], raw: Any) -> T | None:
    """Make a value of an object that may be null."""
    return None if raw is None else made(kind, raw)


def member(raw: Any, name: str) -> Any:
    """A member that may be missing, of what should be an object."""
    return raw.get(name) if isinstance(raw, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def items(raw: Any, name: str) -> list[Any]:
    """A list that may be missing."""
    found = member(raw, name)
    return found if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType]


def moment(raw: Any, name: str) -> datetime:
    """Read an RFC 3339 time. Raises UnreadableError."""
    text = member(raw, name)
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise UnreadableError(f"{name} is no time: {text!r}") from None


def _named(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which members a value needs, and all that it knows."""
    known = fields(kind)
    needed = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]
    return tuple(needed), tuple(one.name for one in known)


_members: Callable[[Any], tuple[tuple[str, ...], tuple[str, ...]]] = cache(_named)
