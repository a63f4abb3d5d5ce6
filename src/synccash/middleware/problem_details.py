"""Sends refusals as problem details (RFC 9457), for applications without an error format of their own."""

import json
import math

from synccash.middleware.refusal import REFUSAL_CODE, Refusal, Scope, Send, title_of


async def refuse_with_problem(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Send a refusal as `application/problem+json`, with `Retry-After` where it has a time to wait."""
    scope[REFUSAL_CODE] = refusal.code
    headers = {"Content-Type": "application/problem+json", **refusal.headers}
    document = {
        "title": title_of(refusal.status),
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "retryable": refusal.retryable,
        "errors": [{"field": name, "message": message} for name, message in refusal.errors],
        **refusal.members,
    }
    if refusal.retry_after_s is not None:
        document["retry_after"] = max(1, math.ceil(refusal.retry_after_s))
        headers["Retry-After"] = str(document["retry_after"])
    body = json.dumps(document).encode()
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
