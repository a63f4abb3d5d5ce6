"""Authenticates requests by `Authorization: Bearer sk_…`; the key is looked up by its SHA-256."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.refusal import App, Receive, Refusal, Refuse, Scope, Send

PRINCIPAL = "synccash.principal"
"""Where a request's scope holds the principal of its API key."""

_MAX_KEY_BYTES = 200
KeyCheck = Callable[[Scope], Awaitable[Refusal | None]]


@dataclass(slots=True, kw_only=True)
class Authentication:
    """Decides by the headers alone, so no body is awaited from a caller without a key.

    `needs_key` tells whether a path needs a key; a handler behind any other path finds no principal and must
    refuse by itself. `check_missing_key` decides about a request without a key: None answers 401, a Refusal
    is sent instead. `check_unknown_key` decides about a key that this process has not seen: None allows the
    lookup, a Refusal is sent instead. `unavailable` are the errors of a key store out of reach.
    """

    app: App
    keys: KnownKeys
    refuse: Refuse
    needs_key: Callable[[str], bool]
    check_missing_key: KeyCheck
    check_unknown_key: KeyCheck
    unavailable: type[Exception]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or refuse it: 401, 429 for many unknown keys, 503."""
        if not self.needs_key(scope.get("path", "")):
            await self.app(scope, receive, send)
            return
        secret = _bearer(scope)
        if secret is None:
            await self.refuse(scope, send, await self.check_missing_key(scope) or KEY_MISSING)
            return
        try:
            found = await self.keys.find(sha256(secret).digest(), lambda: self.check_unknown_key(scope))
        except self.unavailable:
            await self.refuse(scope, send, UNAVAILABLE)
            return
        if found is None or isinstance(found, Refusal):
            await self.refuse(scope, send, found or _KEY_UNKNOWN)
            return
        scope[PRINCIPAL] = found
        await self.app(scope, receive, send)


def _bearer(scope: Scope) -> bytes | None:
    """Return the API key of the request; None when there is no Authorization header, or more than one."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, secret = found[0].partition(b" ")
    secret = secret.strip()
    return secret if scheme.lower() == b"bearer" and 0 < len(secret) <= _MAX_KEY_BYTES else None


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
KEY_MISSING = Refusal(
    status=401,
    code="api_key_missing",
    detail="No API key was sent. Send it as Authorization: Bearer sk_…",
    headers=_CHALLENGE,
)
_KEY_UNKNOWN = Refusal(
    status=401,
    code="api_key_unknown",
    detail="This API key does not exist or was revoked. Use a valid key, or ask the operator for one.",
    headers=_CHALLENGE,
)
UNAVAILABLE = Refusal(
    status=503,
    code="service_unavailable",
    detail="The database is unreachable; nothing was decided. Retry after Retry-After seconds.",
    retryable=True,
    retry_after_s=1.0,
)
