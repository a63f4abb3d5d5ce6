"""Which declared endpoint a request means, however its path is spelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import unquote

from synccash.resilience.fast_tuple import make_namedtuple as made

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


class Match(NamedTuple):
    """An endpoint with the path's parts by name."""

    endpoint: Endpoint
    parts: Mapping[str, str]


def segments(path: str) -> tuple[str, ...]:
    """The parts of a path: doubled and trailing slashes, percent-encoding and `.` make no other path."""
    decoded = unquote(path) if "%" in path else path
    return tuple([part for part in decoded.split("/") if part and part != "."])


class Matcher:
    """Finds the endpoint of a request. Fixed parts compare without regard to case."""

    __slots__ = ("_by_shape", "_usual")

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = {}
        self._usual: dict[str, _Usual] = {}
        for endpoint in endpoints:
            parts = segments(endpoint.path)
            self._usual.setdefault(endpoint.method, _Usual())
            alike = self._by_shape.setdefault((endpoint.method, len(parts)), [])
            if not any(_overlap(parts, others) for others, _ in alike):
                self._write_down(parts, endpoint)
            alike.append((parts, endpoint))

    def match(self, method: str, path: str) -> Match | None:
        """Return the first declared endpoint that fits, or None."""
        usual = self._usual.get(method)
        if usual is None:
            return None
        match = usual.fixed.get(path)
        if match is not None:
            return match
        if "%" not in path:
            begin, _, last = path.rpartition("/")
            known = usual.last.get(begin)
            if known is None:
                begin, _, named = begin.rpartition("/")
                known = usual.before_last.get((begin, last))
                last = named
            if known is not None and last and last != ".":
                return made(Match, (known[0], {known[1]: last}))
        return self._closely(method, path)

    def _closely(self, method: str, path: str) -> Match | None:
        found = segments(path)
        for parts, endpoint in self._by_shape.get((method, len(found)), ()):
            named = _fits(parts, found)
            if named is not None:
                return Match(endpoint, named)
        return None

    def _write_down(self, parts: tuple[str, ...], endpoint: Endpoint) -> None:
        usual = self._usual[endpoint.method]
        places = [place for place, part in enumerate(parts) if part.startswith("{")]
        if not places:
            usual.fixed["/" + "/".join(parts)] = Match(endpoint, {})
            return
        begin = "".join([f"/{part}" for part in parts[: places[0]]])
        meant = endpoint, parts[places[0]][1:-1]
        if places == [len(parts) - 1]:
            usual.last[begin] = meant
        elif places == [len(parts) - 2]:
            usual.before_last[begin, parts[-1]] = meant


@dataclass(frozen=True, slots=True)
class _Usual:
    """The paths of one method as clients write them, which need no closer look: without named parts, or with
    one in the last place or the one before, by what stands round it.
    """

    fixed: dict[str, Match] = field(default_factory=dict[str, Match])
    last: dict[str, tuple[Endpoint, str]] = field(default_factory=dict[str, tuple[Endpoint, str]])
    before_last: dict[tuple[str, str], tuple[Endpoint, str]] = field(
        default_factory=dict[tuple[str, str], tuple[Endpoint, str]]
    )


def _overlap(parts: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether a path of as many parts can fit both."""
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
