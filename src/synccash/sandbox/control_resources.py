"""Serves the control resources that several rails share: `settings`, and the body of `credentials`."""

from typing import TypeVar

import msgspec

from synccash.sandbox.faults import BadBodyError, revised
from synccash.sandbox.wire import Outcome, Reply

_Given = TypeVar("_Given")


def serve_settings(current: msgspec.Struct, method: str, body: object) -> Outcome | None:
    """Serve `settings`: GET returns them, PUT changes the given ones. The fact is `{"settings": {…}}`.

    Returns None for any other method.

    Raises:
        BadBodyError: if the body cannot be used.
    """
    if method == "GET":
        return Outcome(Reply.json(200, current))
    if method != "PUT":
        return None
    changed = revised(current, body)
    return Outcome(Reply.json(200, changed), facts=({"settings": msgspec.to_builtins(changed)},))


def read_credentials(kind: type[_Given], body: object) -> _Given:
    """Read the body of `PUT credentials`, which sets the credentials as on the provider's dashboard.

    Raises:
        BadBodyError: if the body cannot be used.
    """
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as problem:
        raise BadBodyError([{"field": "credentials", "message": str(problem)}]) from problem
