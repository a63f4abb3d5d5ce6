"""Checks the names of query parameters, so that a mistyped filter does not return everything."""

import difflib
from collections.abc import Mapping
from functools import cache
from inspect import get_annotations
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import parse_qsl

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from synccash.api.body import printable
from synccash.api.problem import invalid

_NEAR = 0.7
"""From which similarity on a name is proposed: at 0.6, the default, `payer` is close to `after`."""
_MAX_NAMED = 5
_MAX_NAME_LENGTH = 64


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
    errors = [(printable(name), _unknown(name[:_MAX_NAME_LENGTH], known)) for name in unknown[:_MAX_NAMED]]
    errors += [(name, "given more than once") for name in sorted(known) if given.count(name) > 1]
    # The framework reads the word as an absent value, so a filter would be ignored.
    errors += [
        (name, "null is no value of this parameter; leave it out instead")
        for name, value in pairs
        if value.lower() == "null" and known.get(name) is False
    ]
    if errors:
        raise invalid(*errors)


def _unknown(name: str, known: Mapping[str, bool]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    if near:
        return f"unknown query parameter; did you mean {near[0]}?"
    if not known:
        return "unknown query parameter; this call has none"
    return f"unknown query parameter; this call has {', '.join(sorted(known))}"


@cache
def _parameters(handler: BaseRouteHandler) -> Mapping[str, bool]:
    """Return the names of a handler's query parameters, and whether each takes any text."""
    annotations = get_annotations(handler.fn, eval_str=True)
    return {
        meta.name or name: str in (get_args(kind)[0], *get_args(get_args(kind)[0]))
        for name, kind in annotations.items()
        if get_origin(kind) is Annotated
        for meta in get_args(kind)[1:]
        if isinstance(meta, QueryParameter)
    }
