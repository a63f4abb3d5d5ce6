"""`/openapi.json`: the OpenAPI document, generated from the handlers."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from typing import Any, TypeVar

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute

from synccash.api.calls import OPTIONAL_BODY
from synccash.api.openapi.examples import ANSWER_EXAMPLES, REQUEST_EXAMPLES
from synccash.api.openapi.problem_codes import PROBLEM_CODES, codes_of
from synccash.api.openapi.webhooks import EVENT_OBJECTS, webhooks
from synccash.api.problem import MEDIA_TYPE
from synccash.api.route_scopes import ROUTE_SCOPES
from synccash.api.schemas.answers import EventShown, ProblemShown
from synccash.api.schemas.fields import EndpointId, EventId, PaymentId, PayoutId, RefundId
from synccash.payments.access import AccessScope

_Built = TypeVar("_Built")
_Document = dict[str, Any]
_SCHEMAS = "#/components/schemas/"

_FIRST_PAYMENT = """# First payment
```sh
curl -i $URL/api/v1/payments \\
  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
  -H 'Idempotency-Key: order-1001' \\
  -d '{"amount": 2500, "currency": "GHS", "payer": {"msisdn": "0241234567"}, "reference": "order-1001"}'
```
A POST that moves money takes an `Idempotency-Key` that you choose: a repeat under the same key gets the
same response, and money moves once. Then read the payment until its `status` is `succeeded`, `failed` or
`canceled`, or have events sent to a webhook endpoint. `processing` never means failed.
"""
_CONVENTIONS = """# Conventions
Amounts are whole pesewas (1 GHS = 100 pesewas); times are RFC 3339 in UTC. Request bodies are JSON
(`Content-Type: application/json`, not compressed) without members that are not described here. A query
parameter that a call does not have, or one that is given twice, is refused with 422. Answers may get
further members in later versions: ignore what you do not know.

Each webhook is a POST to your endpoints, signed by Standard Webhooks. Answer any 2xx at once; anything
else is sent again. Events can come twice and in another order.
"""
_ERRORS = """# Errors
Errors are problems (RFC 9457): switch on `code`.

| code | status | what has happened | what to do |
|---|---|---|---|
"""
INTRODUCTION = "\n".join(
    (
        _FIRST_PAYMENT,
        _CONVENTIONS,
        _ERRORS
        + "\n".join(
            f"| `{code}` | {', '.join(map(str, one.statuses))} | {one.cause} | {one.remedy} |"
            for code, one in PROBLEM_CODES.items()
        ),
    )
)
AUTHORIZATION = (
    "`Authorization: Bearer sk_…`, exactly once. Calls that say Operator and all of resilience take an admin "
    "key, all others a merchant's key, which decides the merchant and the mode (live or test)."
)
_HEADERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Request-Id": ("The id of this request; quote it in questions to support", {"type": "string"}),
    "traceparent": (
        "The trace that the request belongs to (W3C Trace Context)",
        {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
    ),
    "RateLimit": (
        "What is left of the tightest limit (draft-ietf-httpapi-ratelimit-headers)",
        {"type": "string"},
    ),
    "RateLimit-Policy": ("The limits that apply to this request", {"type": "string"}),
    "Retry-After": (
        "Seconds to wait before this request may be repeated",
        {"type": "string", "pattern": "^[0-9]+$"},
    ),
    "Idempotent-Replayed": (
        "true: this is the stored response of the first request under the key",
        {"type": "string", "enum": ["true"]},
    ),
    "Allow": ("The methods that the path has", {"type": "string"}),
    "WWW-Authenticate": ("How to authenticate", {"type": "string"}),
}
_PROBLEM_HEADERS = {401: ("WWW-Authenticate",), 405: ("Allow",)}
_WAITS = (409, 429, 503)
"""The statuses that may come with Retry-After."""

IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    # An empty structured-field string (RFC 9651) is no key.
    "pattern": '^(?!""$)[\\x21-\\x7e]+$',
}
_LIMIT_SCOPES = "user|ip|api_key|endpoint|global"
PATH_PARAMETERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "payment_id": ("The id of a payment", msgspec.json.schema(PaymentId)),
    "refund_id": ("The id of a refund", msgspec.json.schema(RefundId)),
    "payout_id": ("The id of a payout", msgspec.json.schema(PayoutId)),
    "event_id": ("The id of an event", msgspec.json.schema(EventId)),
    "endpoint_id": ("The id of a webhook endpoint", msgspec.json.schema(EndpointId)),
    "name": (
        "A breaker: service:operation, or a bare service",
        {"type": "string", "minLength": 1, "maxLength": 512, "examples": ["mtn_momo:collect"]},
    ),
    "key": (
        "What is limited, as scope:id: user:0241234567, ip:203.0.113.7, global:all",
        {
            "type": "string",
            "pattern": f"^(?:{_LIMIT_SCOPES}):.+$",
            "maxLength": 512,
            "examples": ["ip:203.0.113.7"],
        },
    ),
    "merchant_id": ("The id of a merchant", {"type": "string", "minLength": 1, "maxLength": 64}),
    "api_key_id": ("The id of an API key", {"type": "string", "minLength": 1, "maxLength": 64}),
    "approval_id": ("The id of an approval", {"type": "string", "minLength": 1, "maxLength": 64}),
    "reconciliation_id": (
        "The id of a run of `synccash reconcile`",
        {"type": "string", "minLength": 1, "maxLength": 64},
    ),
    "order_id": (
        "The id of a payment, refund or payout",
        {"type": "string", "minLength": 1, "maxLength": 64},
    ),
    "token_id": ("The id of an operator's API token", {"type": "string", "minLength": 1, "maxLength": 64}),
    "operators.name": ("The name of an operator", {"type": "string", "minLength": 1, "maxLength": 64}),
    "endpoint": (
        "The name of an endpoint in the limits",
        {"type": "string", "minLength": 1, "maxLength": 512, "examples": ["payment_initiation"]},
    ),
}
"""The description and the schema of each path parameter; tag.name where a name has several meanings."""
_LINKS: Mapping[str, tuple[str, str]] = {
    "PaymentShown": ("payment_id", "$response.body#/id"),
    "PaymentPage": ("payment_id", "$response.body#/data/0/id"),
    "RefundShown": ("refund_id", "$response.body#/id"),
    "PayoutShown": ("payout_id", "$response.body#/id"),
    "EndpointShown": ("endpoint_id", "$response.body#/id"),
    "EndpointPage": ("endpoint_id", "$response.body#/data/0/id"),
    "EventPage": ("event_id", "$response.body#/data/0/id"),
}
"""The path parameter that an answer has a value for, and where; calls with this parameter are its links."""


class NoFrameworkDocs(JsonRenderPlugin):
    """Removes the framework's own pages, because the handlers below serve the document."""

    def receive_router(self, router: Router) -> None:
        """Remove all routes."""
        router.routes.clear()


def _built_once(build: Callable[[Litestar], _Built]) -> Callable[[Litestar], _Built]:
    """Return a function that builds the value at its first call, also when threads call it together."""
    cached, lock = cache(build), threading.RLock()

    @wraps(build)
    def built(app: Litestar) -> _Built:
        with lock:
            return cached(app)

    return built


# Building the document takes about 0.2 s of CPU: in a thread, so that payments go on meanwhile.
@get("/openapi.json", include_in_schema=False, sync_to_thread=True)
def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI 3.1 document."""
    return Response(_encoded(request.app), media_type="application/json")


@_built_once
def description(app: Litestar) -> _Document:
    """Return the OpenAPI document. The framework describes paths and parameters; schemas, problems, examples,
    links and webhooks are added here."""
    document = app.openapi_schema.to_schema()
    components = document["components"]
    _, schemas = msgspec.json.schema_components(_types(app), ref_template=_SCHEMAS + "{name}")
    components["schemas"] = {**components.get("schemas", {}), **schemas}
    components["headers"] = {
        name: {"description": text, "schema": schema} for name, (text, schema) in _HEADERS.items()
    }
    components["examples"] = {
        name: {"value": value} for name, value in {**REQUEST_EXAMPLES, **ANSWER_EXAMPLES}.items()
    }
    components["responses"] = {}
    optional_bodies = dict(_optional_bodies(app))
    for path, item in document["paths"].items():
        for method, operation in item.items():
            operation["summary"] = _words(operation["summary"])
            _describe_scope(operation, ROUTE_SCOPES[method.upper(), path])
            if (method, path) in optional_bodies:
                _describe_optional_body(operation, optional_bodies[method, path])
            _describe_parameters(operation)
            _describe_responses(operation, components["responses"])
            _add_examples(operation)
    components["responses"] = dict(sorted(components["responses"].items()))
    components["links"] = {}
    _add_links(document["paths"], components["links"])
    document["webhooks"] = webhooks()
    return document


def _words(name: str) -> str:
    """Return the framework's summary, a handler's name, as words: `ListPayments` -> `List payments`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()


def _describe_scope(operation: _Document, scope: AccessScope | None) -> None:
    """Describe the scope that the caller needs; OpenAPI 3.1 lists it with the security requirement."""
    operation["security"] = [] if scope is None else [{"key": [scope.value]}]
    if scope is not None:
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{scope}`.".strip()


def _handlers(app: Litestar) -> Iterator[tuple[str, Any]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema():
                    yield route.path_format.rstrip("/") or "/", handler


def _types(app: Litestar) -> list[Any]:
    """Return the types of all bodies and answers, and those that only events have."""
    found: dict[Any, None] = dict.fromkeys([EventShown, ProblemShown, *EVENT_OBJECTS.values()])
    for _, handler in _handlers(app):
        answers: Mapping[int, Any] = handler.responses or {}
        found.update(dict.fromkeys(answer.data_container for answer in answers.values()))
        if handler.parsed_data_field is not None:
            found[handler.parsed_data_field.annotation] = None
        if OPTIONAL_BODY in handler.opt:
            found[handler.opt[OPTIONAL_BODY]] = None
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]


def _optional_bodies(app: Litestar) -> Iterator[tuple[tuple[str, str], type[Any]]]:
    for path, handler in _handlers(app):
        if OPTIONAL_BODY in handler.opt:
            for method in handler.http_methods:
                yield (method.lower(), path), handler.opt[OPTIONAL_BODY]


def _describe_optional_body(operation: _Document, kind: type[Any]) -> None:
    media = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{kind.__name__}"}}}
    operation["requestBody"] = {"required": False, "content": media}


def _describe_parameters(operation: _Document) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "Idempotency-Key":
            parameter["required"] = True
            parameter["schema"] = IDEMPOTENCY_KEY
        elif parameter["in"] == "path":
            tagged = f"{operation['tags'][0]}.{parameter['name']}"
            text, schema = PATH_PARAMETERS.get(tagged) or PATH_PARAMETERS[parameter["name"]]
            parameter["description"], parameter["schema"] = text, schema
        else:
            parameter["schema"] = _without_null(parameter["schema"])


def _without_null(schema: _Document) -> _Document:
    """Return a parameter's schema without null: a query has no null, and an optional parameter is absent."""
    choices = [one for one in schema.get("oneOf", ()) if one != {"type": "null"}]
    if len(choices) == 1 and len(choices) < len(schema["oneOf"]):
        return {**{name: value for name, value in schema.items() if name != "oneOf"}, **choices[0]}
    return schema


def _describe_responses(operation: _Document, shared: _Document) -> None:
    """Describe the headers of each response, and refer to the problems of each status."""
    replays = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
    responses = operation["responses"]
    for status, response in responses.items():
        # The framework documents an error format of its own for parameters: all errors are problems.
        if MEDIA_TYPE in response.get("content", {}) or status == "400":
            name = f"Problem{status}"
            shared.setdefault(name, _problem(int(status)))
            responses[status] = {"$ref": f"#/components/responses/{name}"}
            continue
        names = ["Request-Id", "traceparent", "RateLimit", "RateLimit-Policy"]
        if replays and status.startswith("2"):
            names.append("Idempotent-Replayed")
        if int(status) in _WAITS:
            names.append("Retry-After")
        response["headers"] = _header_references(names)
    operation["responses"] = dict(sorted(responses.items()))


def _header_references(names: Iterable[str]) -> _Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem(status: int) -> _Document:
    """Return the response of an error status, with its closed list of codes."""
    codes = codes_of(status)
    names = ["Request-Id", "traceparent", "RateLimit", "RateLimit-Policy", *_PROBLEM_HEADERS.get(status, ())]
    if status in _WAITS:
        names.append("Retry-After")
    meanings = (f"`{code}`: {PROBLEM_CODES[code].cause} {PROBLEM_CODES[code].remedy}" for code in codes)
    closed = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
    schema = {"allOf": [{"$ref": f"{_SCHEMAS}{ProblemShown.__name__}"}, closed]}
    return {
        "description": "\n\n".join(meanings),
        "headers": _header_references(names),
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _add_examples(operation: _Document) -> None:
    """Refer to the example of each body and answer."""
    holders = [operation.get("requestBody", {}), *operation["responses"].values()]
    for holder in holders:
        for media in holder.get("content", {}).values():
            name = media["schema"].get("$ref", "").removeprefix(_SCHEMAS)
            if name in REQUEST_EXAMPLES or name in ANSWER_EXAMPLES:
                media["examples"] = {"example": {"$ref": f"#/components/examples/{name}"}}


def _add_links(paths: _Document, shared: _Document) -> None:
    """Link each answer with an id to the calls that take it."""
    operations = [operation for item in paths.values() for operation in item.values()]
    takers: dict[str, list[str]] = {}
    for operation in operations:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                takers.setdefault(parameter["name"], []).append(operation["operationId"])
    for operation in operations:
        for response in operation["responses"].values():
            for media in response.get("content", {}).values():
                name = media["schema"].get("$ref", "").removeprefix(_SCHEMAS)
                if name in _LINKS:
                    parameter, expression = _LINKS[name]
                    response["links"] = {}
                    for taker in takers.get(parameter, ()):
                        if taker == operation["operationId"]:
                            continue
                        link = f"{taker}From{name}"
                        shared[link] = {"operationId": taker, "parameters": {parameter: expression}}
                        response["links"][taker] = {"$ref": f"#/components/links/{link}"}


@_built_once
def _encoded(app: Litestar) -> bytes:
    return msgspec.json.encode(description(app))
