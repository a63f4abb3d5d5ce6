"""`/openapi.json` and `/docs`: the description of the API, made from the handlers themselves.

The page is one file without scripts: it works on a machine without internet access.
"""

from functools import cache
from html import escape
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.openapi.plugins import JsonRenderPlugin

from synccash.api.schemas import STRICT

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a2e}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f8;padding:.8rem;overflow:auto}"
    "summary{cursor:pointer;padding:.4rem 0;border-top:1px solid #ddd}b{display:inline-block;width:5rem}"
)

_HEADERS = {
    "Request-Id": "The name of this request; quote it when you ask us about it",
    "traceparent": "The trace that the request belongs to (W3C Trace Context)",
    "RateLimit": "What is left of the limit that binds first (draft-ietf-httpapi-ratelimit-headers)",
    "RateLimit-Policy": "The limits that this request met",
    "Retry-After": "Seconds to wait before this request may be repeated",
    "Idempotent-Replayed": "true: the answer of the first request under this key, byte for byte",
}


class Undrawn(JsonRenderPlugin):
    """Takes the framework's own pages off again: the document is served once, by the handlers below."""

    def receive_router(self, router: Router) -> None:
        """Leave nothing of it."""
        router.routes.clear()


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return Response(msgspec.json.encode(description(request.app)), media_type="application/json")


@get("/docs", include_in_schema=False, sync_to_thread=False)
def docs_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The document for people."""
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(_page(request.app), media_type="text/html", headers=policy)


@cache
def description(app: Litestar) -> dict[str, Any]:
    """The document. The framework forgets that our requests allow no further members."""
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
        for operation in item.values():
            _describe_headers(operation)
            if not path.startswith("/api/"):
                operation["security"] = []
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "Idempotency-Key":
                    parameter["required"] = True
                    parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 255}
    return document


def _describe_headers(operation: dict[str, Any]) -> None:
    replays = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
    for status, response in operation["responses"].items():
        names = ["Request-Id", "traceparent", "RateLimit", "RateLimit-Policy"]
        if status in ("409", "429", "503"):
            names.append("Retry-After")
        if replays and status.startswith("2"):
            names.append("Idempotent-Replayed")
        told = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = {**response.get("headers", {}), **told}


@cache
def _page(app: Litestar) -> bytes:
    document = description(app)
    rows = [
        _operation(method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    shapes = [
        _folded(f"<code>{escape(name)}</code>", shape)
        for name, shape in sorted(document["components"]["schemas"].items())
    ]
    title = escape(document["info"]["title"])
    html = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>The machine's form of this page is <a href=/openapi.json>/openapi.json</a>. "
        "Send <code>Authorization: Bearer sk_…</code>; POSTs of money need an <code>Idempotency-Key</code>."
        f"<h2>Calls</h2>{''.join(rows)}<h2>Shapes</h2>{''.join(shapes)}</html>"
    )
    return html.encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    shown = {
        name: operation[name] for name in ("parameters", "requestBody", "responses") if name in operation
    }
    text = escape(operation.get("description") or "")
    return _folded(f"<b>{method}</b><code>{escape(path)}</code> {text}", shown)


def _folded(summary: str, content: Any) -> str:
    pretty = msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    return f"<details><summary>{summary}</summary><pre>{escape(pretty)}</pre></details>"
