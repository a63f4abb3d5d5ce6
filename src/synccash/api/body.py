"""Reads request bodies strictly, and reports their invalid fields together."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, TypeVar

import msgspec
from litestar import Request

from synccash.api.hints import field_paths, struct_of, unknown_name, wrong_value
from synccash.api.problem import ProblemError, invalid, malformed, not_found
from synccash.middleware.refusal import Refusal
from synccash.middleware.resilience import DECODED, VALUES_MAX
from synccash.middleware.whole_body import BODY
from synccash.resilience.idempotency import DuplicateMemberError, NotJsonError, read_json

_Body = TypeVar("_Body")
_VALUE = "synccash.value"
_MAX_PART_LENGTH = 512
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_HINTS_MAX = 5
"""Of one object: comparing names costs more than reading them."""
_ERRORS_MAX = 100
"""Of one answer. A body of 64 KiB once got an answer of 300 KB, which cost four times what reading it did."""


class ApiRequest(Request[Any, Any, Any]):
    """A request whose body was read by `take_body` before its handler is called."""

    async def json(self) -> Any:
        """Return the body as the type that the handler declares."""
        return scope_of(self)[_VALUE]


class HasScope(Protocol):
    """A request of the framework, or of a direct route."""

    @property
    def scope(self) -> Any:
        """The ASGI scope."""
        ...


def scope_of(request: HasScope) -> dict[str, Any]:
    """Return the request's ASGI scope, with the entries that the middleware and the API added."""
    return request.scope


async def take_body(request: Request[Any, Any, Any]) -> None:
    """Decode the body for a handler that declares one. Raises ProblemError 400, 404, 415 or 422."""
    check_parts(request.path_params.values())
    field = request.route_handler.parsed_data_field
    if field is not None:
        scope_of(request)[_VALUE] = required_body(request, field.annotation)


def check_parts(parts: Iterable[str]) -> None:
    """Check the named parts of a path. Raises ProblemError 404."""
    for part in parts:
        if not part.isprintable() or len(part) > _MAX_PART_LENGTH:
            raise ProblemError(
                not_found("A part of the path is too long or not printable, so nothing matches it.")
            )


def required_body(request: HasScope, kind: type[_Body]) -> _Body:
    """Decode a body. Raises ProblemError 400, 415 or 422."""
    scope = scope_of(request)
    raw: bytes = scope[BODY]
    _check_media_type(scope)
    if not isinstance(_read(scope, raw), dict):
        raise invalid(("", "expected a JSON object"))
    return decode(raw, kind)


async def optional_body(request: HasScope, kind: type[_Body]) -> _Body | None:
    """Decode an optional body; None when it is empty. Raises ProblemError 400, 415 or 422."""
    return required_body(request, kind) if scope_of(request)[BODY] else None


def _read(scope: dict[str, Any], raw: bytes) -> Any:
    """Decode the body, unless the middleware has done so for limits and the fingerprint."""
    try:
        if DECODED not in scope:
            return read_json(raw, values_max=VALUES_MAX)
        if isinstance(scope[DECODED], ValueError):
            raise scope[DECODED]
        return scope[DECODED]
    except NotJsonError as error:
        raise malformed(str(error)) from error
    except DuplicateMemberError as error:
        raise invalid((printable(error.name), str(error))) from error


def _check_media_type(scope: Mapping[str, Any]) -> None:
    coding = _header(scope, b"content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise ProblemError(
            Refusal(
                status=415,
                code="unsupported_content_encoding",
                detail=f"The Content-Encoding {printable(coding)} is not supported. Send the body as it is.",
                headers={"Accept-Encoding": "identity"},
            )
        )
    kind, _, rest = _header(scope, b"content-type", "").partition(";")
    charset = rest.strip().lower().replace('"', "")
    if kind.strip().lower() == "application/json" and charset in ("", "charset=utf-8"):
        return
    raise ProblemError(
        Refusal(
            status=415,
            code="unsupported_media_type",
            detail="The Content-Type is not supported. Send Content-Type: application/json.",
        )
    )


def _header(scope: Mapping[str, Any], name: bytes, default: str) -> str:
    """Return the first header with this name, which is given in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return default


def decode(raw: bytes, kind: type[Any]) -> Any:
    """Decode a JSON object that is known to be well formed. Raises ProblemError with the invalid fields, at
    most 100 of them."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        found = list(islice(_problems(raw, kind, ""), _ERRORS_MAX))
        raise invalid(*(found or [("", _plain(error))])) from error


def _problems(raw: bytes | msgspec.Raw, kind: type[Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield each invalid field with its reason. The decoder itself stops at the first one."""
    try:
        members = _members(raw)
    except msgspec.MsgspecError as error:
        yield prefix.rstrip("."), _plain(error)
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    unknown = [name for name in members if name not in fields]
    paths = tuple(field_paths(kind)) if unknown else ()
    for position, name in enumerate(unknown):
        hint = unknown_name("field", name, paths) if position < _HINTS_MAX else "unknown field"
        yield prefix + printable(name), hint
    for name, field in fields.items():
        if name not in members:
            if field.required:
                yield prefix + name, "this field is required"
            continue
        inner = struct_of(field.type)
        if inner is not None and not bytes(members[name]).startswith(b"n"):
            yield from _problems(members[name], inner, f"{prefix}{name}.")
            continue
        try:
            msgspec.json.decode(members[name], type=field.type)
        except (msgspec.MsgspecError, RecursionError) as error:
            yield prefix + name, wrong_value(field.type, _value(members[name])) or _plain(error)


def _value(raw: msgspec.Raw) -> object:
    """Return what was sent for a field; None if it is no JSON that the decoder reads."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _plain(error: BaseException) -> str:
    """Return the decoder's message without its notation of paths."""
    text = str(error).partition(" - at `")[0].replace("`", "")
    return text[:1].lower() + text[1:]


def printable(name: str) -> str:
    """Return a member's name in a form that may be sent back: short and printable."""
    short = name[:64]
    # A body may have thousands of unknown members, and decode() takes half the time without the join.
    return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)
