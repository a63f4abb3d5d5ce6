"""`/docs/problems`: every problem code with its cause and remedy. The `doc_url` of a problem leads here."""

from functools import cache
from html import escape

from litestar import Response, get

from synccash.api.openapi.problem_codes import PROBLEM_CODES, ProblemCode
from synccash.api.problem import PROBLEMS_PATH
from synccash.middleware.refusal import title_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_HEAD = """\
<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content="width=device-width,initial-scale=1"><title>Problems</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
section:target { outline: 2px solid; outline-offset: .5rem }
</style>
<h1>Problems</h1>
<p>A program acts on <code>code</code> and on <code>retryable</code>; a person reads <code>detail</code>.
After a 5xx, or no answer at all, repeat the same request with the same Idempotency-Key: money moves once.
All calls: <a href="/docs">/docs</a>.</p>
"""


@get(PROBLEMS_PATH, include_in_schema=False, sync_to_thread=False)
def problems_page() -> Response[bytes]:
    """Return the page. Each code is an anchor, which never changes."""
    return Response(_page(), media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@cache
def _page() -> bytes:
    return (_HEAD + "".join(_section(code, problem) for code, problem in PROBLEM_CODES.items())).encode()


def _section(code: str, problem: ProblemCode) -> str:
    statuses = ", ".join(f"{status} {title_of(status)}" for status in problem.statuses)
    return (
        f'<section id="{code}"><h2><code>{code}</code></h2><p>Status {statuses}.</p>'
        f"<p><b>Cause.</b> {escape(problem.cause)}</p>"
        f"<p><b>What to do.</b> {escape(problem.remedy)}</p></section>\n"
    )
