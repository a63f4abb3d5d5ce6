"""`/docs`: the OpenAPI document as a page, drawn by Scalar, which is vendored in `static/`."""

import json
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from litestar import Request, Response, get

_SCRIPT = resources.files("synccash.api.openapi") / "static" / "scalar.js.gz"
SCRIPT_PATH = "/docs/scalar.js"
_CONFIGURATION = {
    "url": "/openapi.json",
    "withDefaultFonts": False,
    "telemetry": False,
    "hideClientButton": True,
    "showDeveloperTools": "never",
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
    "persistAuth": False,
    "documentDownloadType": "direct",
    "defaultHttpClient": {"targetKey": "shell", "clientKey": "curl"},
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere. The script writes its styles into the page, so they are allowed."""


@get("/docs", include_in_schema=False, sync_to_thread=False)
def docs_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the page. The browser reads the document from `/openapi.json`."""
    title = escape(request.app.openapi_schema.info.title)
    configuration = escape(json.dumps(_CONFIGURATION), quote=True)
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{title}</title><body><noscript><h1>{title}</h1><p>This page needs JavaScript. Its contents "
        "for machines and for reading without it: <a href=/openapi.json>/openapi.json</a>.</noscript>"
        f'<script id=api-reference type=application/json data-configuration="{configuration}"></script>'
        f"<script src={SCRIPT_PATH}></script></html>"
    )
    headers = {"Content-Security-Policy": POLICY}
    return Response(page.encode(), media_type="text/html", headers=headers)


@get(SCRIPT_PATH, include_in_schema=False, sync_to_thread=True)
def docs_script() -> Response[bytes]:
    """Return the script. It is stored compressed and sent so: unpacking it for each caller would be dear, and
    every browser reads it."""
    headers = {"Cache-Control": "public, max-age=3600", "Content-Encoding": "gzip"}
    return Response(_script(), media_type="text/javascript", headers=headers)


@cache
def _script() -> bytes:
    return _SCRIPT.read_bytes()
