"""Finds the declared endpoint of a request, however its path is spelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import unquote

OTHER = "other"
"""The name of requests that match no declared endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of request: a method and a path whose `{…}` parts stand for any one segment.

    `user` is the part of the path that names the user when nothing else does; `user_of_body` are the members
    of the body that lead to a user who counts always. `idempotent`: with "required" the middleware stores
    claims of its own; with "handled" the handler claims keys in its own commit, and the middleware only
    replays stored answers; None ignores keys. `limited=False`: no limit applies.
    """

    method: str
    path: str
    name: str
    idempotent: Literal["required", "handled"] | None = None
    user: str | None = None
    user_of_body: tuple[str, ...] | None = None
    limited: bool = True


class Match(NamedTuple):
    """An endpoint, and the parts of the path by their names in its template."""

    endpoint: Endpoint
    parts: Mapping[str, str]


def segments(path: str) -> tuple[str, ...]:
    """Return the parts of a path. Doubled and trailing slashes, percent-encoding and `.` make no difference,
    so no spelling of a path escapes the limits of its endpoint."""
    decoded = unquote(path) if "%" in path else path
    return tuple([part for part in decoded.split("/") if part and part != "."])


class Matcher:
    """Finds the endpoint of a request. Fixed parts compare without regard to case."""

    __slots__ = ("_by_length", "_common")

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._by_length: dict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = {}
        self._common: dict[str, _CommonPaths] = {}
        for endpoint in endpoints:
            parts = segments(endpoint.path)
            self._common.setdefault(endpoint.method, _CommonPaths())
            same_length = self._by_length.setdefault((endpoint.method, len(parts)), [])
            if not any(_overlap(parts, others) for others, _ in same_length):
                self._index(parts, endpoint)
            same_length.append((parts, endpoint))

    def match(self, method: str, path: str) -> Match | None:
        """Return the first declared endpoint that fits, or None."""
        common = self._common.get(method)
        if common is None:
            return None
        match = common.fixed.get(path)
        if match is not None:
            return match
        if "%" not in path:
            begin, _, last = path.rpartition("/")
            known = common.last.get(begin)
            if known is None:
                begin, _, named = begin.rpartition("/")
                known = common.before_last.get((begin, last))
                last = named
            if known is not None and last and last != ".":
                return Match(known[0], {known[1]: last})
        return self._compare_segments(method, path)

    def _compare_segments(self, method: str, path: str) -> Match | None:
        found = segments(path)
        for parts, endpoint in self._by_length.get((method, len(found)), ()):
            named = _fits(parts, found)
            if named is not None:
                return Match(endpoint, named)
        return None

    def _index(self, parts: tuple[str, ...], endpoint: Endpoint) -> None:
        common = self._common[endpoint.method]
        named = [index for index, part in enumerate(parts) if part.startswith("{")]
        if not named:
            common.fixed["/" + "/".join(parts)] = Match(endpoint, {})
            return
        begin = "".join([f"/{part}" for part in parts[: named[0]]])
        target = endpoint, parts[named[0]][1:-1]
        if named == [len(parts) - 1]:
            common.last[begin] = target
        elif named == [len(parts) - 2]:
            common.before_last[begin, parts[-1]] = target


@dataclass(frozen=True, slots=True)
class _CommonPaths:
    """The paths of one method in the spelling that clients use, so that one or two lookups find them: without
    named parts, or with one at the end or before the end, keyed by the parts around it.

    A lookup takes 0.1 to 0.9 µs and comparing the segments 2 to 6 µs; a GET in the middleware takes 16 µs.
    """

    fixed: dict[str, Match] = field(default_factory=dict[str, Match])
    last: dict[str, tuple[Endpoint, str]] = field(default_factory=dict[str, tuple[Endpoint, str]])
    before_last: dict[tuple[str, str], tuple[Endpoint, str]] = field(
        default_factory=dict[tuple[str, str], tuple[Endpoint, str]]
    )


def _overlap(parts: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Tell whether one path can match both templates, which have the same number of parts."""
    return all(
        part.startswith("{") or other.startswith("{") or part.lower() == other.lower()
        for part, other in zip(parts, others, strict=True)
    )


def _fits(parts: tuple[str, ...], found: tuple[str, ...]) -> dict[str, str] | None:
    named: dict[str, str] = {}
    for part, given in zip(parts, found, strict=True):
        if part.startswith("{"):
            named[part[1:-1]] = given
        elif part != given and part.lower() != given.lower():
            return None
    return named
