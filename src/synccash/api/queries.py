"""Checks the names of query parameters, so that a mistyped filter does not return everything."""

from collections.abc import Mapping, Sequence
from functools import cache
from inspect import get_annotations
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import parse_qsl

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from synccash.api.body import printable
from synccash.api.hints import expected_parameter, unknown_name
from synccash.api.problem import ProblemError, invalid

_MAX_NAMED = 5


def check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse a parameter that the handler does not have, one that is given twice, and the word null for one
    that takes no text. Raises ProblemError 422."""
    query: bytes = request.scope["query_string"]
    if not query:
        return
    known = _parameters(request.route_handler)
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = [name for name, _ in pairs]
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    errors = [
        (printable(name), unknown_name("query parameter", name, known)) for name in unknown[:_MAX_NAMED]
    ]
    errors += [(name, "given more than once") for name in sorted(known) if given.count(name) > 1]
    # The framework reads the word as an absent value, so a filter would be ignored.
    errors += [
        (name, "null is no value of this parameter; leave it out instead")
        for name, value in pairs
        if value.lower() == "null" and name in known and not _takes_text(known[name])
    ]
    if errors:
        raise invalid(*errors)


def invalid_values(request: Request[Any, Any, Any], found: Sequence[tuple[str, str]]) -> ProblemError:
    """Return the 422 for values that the framework has refused: what each parameter takes, in words. A name
    that is no query parameter keeps the framework's message."""
    known = _parameters(request.route_handler)
    texts = {name: expected_parameter(known[name]) for name, _ in found if name in known}
    return invalid(
        *((name, f"expected {text}" if (text := texts.get(name)) else told) for name, told in found)
    )


@cache
def _parameters(handler: BaseRouteHandler) -> Mapping[str, Any]:
    """Return a handler's query parameters by their names, with their annotated types."""
    annotations = get_annotations(handler.fn, eval_str=True)
    return {
        meta.name or name: kind
        for name, kind in annotations.items()
        if get_origin(kind) is Annotated
        for meta in get_args(kind)[1:]
        if isinstance(meta, QueryParameter)
    }


def _takes_text(kind: Any) -> bool:
    plain = get_args(kind)[0]
    return str in (plain, *get_args(plain))
