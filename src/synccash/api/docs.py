"""`/openapi.json` and `/docs`: the OpenAPI document, generated from the handlers."""

from functools import cache
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.openapi.plugins import JsonRenderPlugin

from synccash.api.reference_page import reference_page
from synccash.api.route_scopes import ROUTE_SCOPES
from synccash.api.schemas import STRICT
from synccash.payments.access import AccessScope

_HEADERS = {
    "Request-Id": "The id of this request; quote it in questions to support",
    "traceparent": "The trace that the request belongs to (W3C Trace Context)",
    "RateLimit": "What is left of the tightest limit (draft-ietf-httpapi-ratelimit-headers)",
    "RateLimit-Policy": "The limits that apply to this request",
    "Retry-After": "Seconds to wait before this request may be repeated",
    "Idempotent-Replayed": "true: this is the stored response of the first request under the key",
}


class NoFrameworkDocs(JsonRenderPlugin):
    """Removes the framework's own pages, because the handlers below serve the document."""

    def receive_router(self, router: Router) -> None:
        """Remove all routes."""
        router.routes.clear()


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI 3.1 document."""
    return Response(msgspec.json.encode(description(request.app)), media_type="application/json")


@get("/docs", include_in_schema=False, sync_to_thread=False)
def docs_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI document as a page."""
    policy = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    }
    return Response(_page(request.app), media_type="text/html", headers=policy)


@cache
def description(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document, with what the framework leaves out: the headers, and that requests allow
    no other members."""
    schema = app.openapi_schema
    strict = {kind.__name__ for kind in STRICT}
    for name, shape in ((schema.components.schemas or {}) if schema.components else {}).items():
        if name in strict:
            shape.additional_properties = False
    document = schema.to_schema()
    document["components"]["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _remove_framework_error(operation)
            _describe_headers(operation)
            _describe_scope(operation, ROUTE_SCOPES[method.upper(), path])
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "Idempotency-Key":
                    parameter["required"] = True
                    parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 255}
    return document


def _describe_scope(operation: dict[str, Any], scope: AccessScope | None) -> None:
    """Describe the scope that the caller needs; OpenAPI 3.1 lists it with the security requirement."""
    operation["security"] = [] if scope is None else [{"key": [scope.value]}]
    if scope is not None:
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{scope}`.".strip()


def _remove_framework_error(operation: dict[str, Any]) -> None:
    """Remove the framework's error format, which it documents for parameters: all errors are problems."""
    refused = operation["responses"].get("400", {})
    if "application/json" in refused.get("content", {}):
        del operation["responses"]["400"]


def _describe_headers(operation: dict[str, Any]) -> None:
    replays = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
    for status, response in operation["responses"].items():
        names = ["Request-Id", "traceparent", "RateLimit", "RateLimit-Policy"]
        if status in ("409", "429", "503"):
            names.append("Retry-After")
        if replays and status.startswith("2"):
            names.append("Idempotent-Replayed")
        references = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = {**response.get("headers", {}), **references}


@cache
def _page(app: Litestar) -> bytes:
    return reference_page(description(app)).encode()
