"""Finds the declared endpoint of a request, however its path is spelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args
from urllib.parse import unquote

OTHER = "other"
"""The name of requests that match no declared endpoint."""

Idempotent = Literal["required", "handled"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of request: a method and a path whose `{…}` parts stand for any one segment.

    `user` is the part of the path that names the user when nothing else does; `user_of_body` are the members
    of the body that lead to a user who counts always. `idempotent`: with "required" the middleware stores
    claims of its own; with "handled" the handler claims keys in its own commit, and the middleware only
    replays stored answers; None ignores keys. `limited=False`: no limit applies.

    Raises ValueError for an endpoint that no request would match, or whose user no request would have.
    """

    method: str
    path: str
    name: str
    idempotent: Idempotent | None = None
    user: str | None = None
    user_of_body: tuple[str, ...] | None = None
    limited: bool = True

    def __post_init__(self) -> None:
        if self.method != self.method.strip().upper():
            raise ValueError(f"endpoint {self.name}: the method {self.method!r} has to be in upper case")
        if not self.path.startswith("/") or "?" in self.path:
            raise ValueError(
                f"endpoint {self.name}: the path {self.path!r} has to begin with / and has no query"
            )
        for part in segments(self.path):
            if ("{" in part or "}" in part) and not _is_named(part):
                raise ValueError(
                    f"endpoint {self.name}: {part!r} in {self.path!r} matches no request; a named part is a "
                    "whole segment, such as {order_id}"
                )
        if self.user is not None and f"{{{self.user}}}" not in segments(self.path):
            raise ValueError(
                f"endpoint {self.name}: user={self.user!r} is no named part of {self.path!r}, so no request "
                "would count against it"
            )
        if self.idempotent is None:
            return
        if self.idempotent not in get_args(Idempotent):
            raise ValueError(
                f"endpoint {self.name}: idempotent={self.idempotent!r} is unknown; expected "
                f"{' or '.join(map(repr, get_args(Idempotent)))}, or None"
            )
        if not self.method or not self.limited:
            raise ValueError(
                f"endpoint {self.name}: idempotent={self.idempotent!r} needs a method and limited=True"
            )


class Match(NamedTuple):
    """An endpoint, and the parts of the path by their names in its template."""

    endpoint: Endpoint
    parts: Mapping[str, str]


def segments(path: str) -> tuple[str, ...]:
    """Return the parts of a path. Doubled and trailing slashes, percent-encoding and `.` make no difference,
    so no spelling of a path escapes the limits of its endpoint."""
    decoded = unquote(path) if "%" in path else path
    return tuple([part for part in decoded.split("/") if part and part != "."])


def first_covering(endpoints: Sequence[Endpoint], endpoint: Endpoint) -> Endpoint:
    """Return the first declared endpoint that matches all requests of another one; at the latest itself."""
    parts = segments(endpoint.path)
    for other in endpoints:
        others = segments(other.path)
        if other.method == endpoint.method and len(others) == len(parts) and _covers(others, parts):
            return other
    return endpoint


class Matcher:
    """Finds the endpoint of a request. Fixed parts compare without regard to case.

    A HEAD request has the endpoint of its own that was declared, or else that of GET: frameworks run the
    handler of GET for it.
    """

    __slots__ = ("_by_length", "_common")

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._by_length: dict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = {}
        self._common: dict[str, _CommonPaths] = {}
        declared = [(endpoint.method, endpoint) for endpoint in endpoints]
        for method, endpoint in (*declared, *(("HEAD", one) for method, one in declared if method == "GET")):
            parts = segments(endpoint.path)
            same_length = self._by_length.setdefault((method, len(parts)), [])
            common = self._common.setdefault(method, _CommonPaths())
            if not any(_overlap(parts, others) for others, _ in same_length):
                _index(common, parts, endpoint)
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
            outer, _, before = begin.rpartition("/")
            is_last, is_before = last and last != ".", before and before != "."
            if is_last and (known := common.last.get(begin)) is not None:
                return Match(known[0], {known[1]: last})
            if is_before and (known := common.before_last.get((outer, last))) is not None:
                return Match(known[0], {known[1]: before})
            if is_last and is_before and (pair := common.last_two.get(outer)) is not None:
                return Match(pair[0], {pair[1]: before, pair[2]: last})
        if path.endswith("\n"):
            # Starlette's patterns end with `$`, which also matches before a line feed.
            return self._compare_segments(method, path[:-1]) or self._compare_segments(method, path)
        return self._compare_segments(method, path)

    def _compare_segments(self, method: str, path: str) -> Match | None:
        found = segments(path)
        for parts, endpoint in self._by_length.get((method, len(found)), ()):
            named = _fits(parts, found)
            if named is not None:
                return Match(endpoint, named)
        return None


@dataclass(frozen=True, slots=True)
class _CommonPaths:
    """The paths of one method in the spelling that clients use, so that one to three lookups find them:
    without named parts, with one at the end or before the end, or with two at the end, keyed by the parts
    around them.

    A lookup takes 0.1 to 0.9 µs and comparing the segments 2 to 6 µs; a GET in the middleware takes 16 µs.
    """

    fixed: dict[str, Match] = field(default_factory=dict[str, Match])
    last: dict[str, tuple[Endpoint, str]] = field(default_factory=dict[str, tuple[Endpoint, str]])
    before_last: dict[tuple[str, str], tuple[Endpoint, str]] = field(
        default_factory=dict[tuple[str, str], tuple[Endpoint, str]]
    )
    last_two: dict[str, tuple[Endpoint, str, str]] = field(
        default_factory=dict[str, tuple[Endpoint, str, str]]
    )


def _index(common: _CommonPaths, parts: tuple[str, ...], endpoint: Endpoint) -> None:
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
    elif named == [len(parts) - 2, len(parts) - 1]:
        common.last_two[begin] = (*target, parts[-1][1:-1])


def _is_named(part: str) -> bool:
    name = part[1:-1]
    return part[0] == "{" and part[-1] == "}" and not set(name) & set("{}:")


def _covers(others: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Tell whether the first template matches whatever the second one does."""
    return all(
        other.startswith("{") or (not part.startswith("{") and part.lower() == other.lower())
        for other, part in zip(others, parts, strict=True)
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
