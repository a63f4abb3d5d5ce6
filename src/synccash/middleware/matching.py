"""Which declared endpoint a request means, however its path is spelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

OTHER = "other"
"""The name of whatever is not declared."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of request: a method and a path whose `{…}` parts stand for any one segment.

    `user`: the part of the path that names the user where nothing better does. `idempotent`: "required" keeps
    claims of its own in the middleware, "handled" says that the handler claims keys in its own commit and the
    middleware only replays what it stored; None takes no notice of keys. `limited=False`: never refused.
    """

    method: str
    path: str
    name: str
    idempotent: Literal["required", "handled"] | None = None
    user: str | None = None
    user_of_body: tuple[str, ...] | None = None
    limited: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """An endpoint with the path's parts by name."""

    endpoint: Endpoint
    parts: dict[str, str]


def segments(path: str) -> tuple[str, ...]:
    """The parts of a path: doubled and trailing slashes, percent-encoding and `.` make no other path."""
    decoded = unquote(path) if "%" in path else path
    return tuple([part for part in decoded.split("/") if part and part != "."])


class Matcher:
    """Finds the endpoint of a request. Fixed parts compare without regard to case."""

    __slots__ = ("_by_shape",)

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = {}
        for endpoint in endpoints:
            parts = segments(endpoint.path)
            self._by_shape.setdefault((endpoint.method, len(parts)), []).append((parts, endpoint))

    def match(self, method: str, path: str) -> Match | None:
        """Return the first declared endpoint that fits, or None."""
        found = segments(path)
        for parts, endpoint in self._by_shape.get((method, len(found)), ()):
            named = _fits(parts, found)
            if named is not None:
                return Match(endpoint, named)
        return None


def _fits(parts: tuple[str, ...], found: tuple[str, ...]) -> dict[str, str] | None:
    named: dict[str, str] = {}
    for part, given in zip(parts, found, strict=True):
        if part.startswith("{"):
            named[part[1:-1]] = given
        elif part != given and part.lower() != given.lower():
            return None
    return named
