"""Who is calling: `Authorization: Bearer sk_…`, looked up by the SHA-256 of the key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256

from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.refusal import App, Receive, Refusal, Refuse, Scope, Send

PRINCIPAL = "synccash.principal"
"""Where a request's scope holds who is calling."""

_LONGEST_KEY = 200


@dataclass(slots=True, kw_only=True)
class Authentication:
    """Decides by the headers alone: nothing of a body is awaited for somebody without a key.

    `needs_key` says of a path whether anything behind it asks who is calling; what asks without having been
    named here finds no principal and has to refuse by itself. `keyless` says of a request without a key
    whether it is worth an answer of its own, and `stranger` of one whose key was never seen whether that may
    be looked up: None, or why not. `unavailable` are the errors of a keyring out of reach.
    """

    app: App
    keys: KnownKeys
    refuse: Refuse
    needs_key: Callable[[str], bool]
    keyless: Callable[[Scope], Awaitable[Refusal | None]]
    stranger: Callable[[Scope], Awaitable[Refusal | None]]
    unavailable: type[Exception]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or refuse it: 401, 429 to a stranger's many keys, 503."""
        if not self.needs_key(scope.get("path", "")):
            await self.app(scope, receive, send)
            return
        secret = _bearer(scope)
        if secret is None:
            await self.refuse(scope, send, await self.keyless(scope) or MISSING)
            return
        try:
            found = await self.keys.find(sha256(secret).digest(), lambda: self.stranger(scope))
        except self.unavailable:
            await self.refuse(scope, send, UNAVAILABLE)
            return
        if found is None or isinstance(found, Refusal):
            await self.refuse(scope, send, found or _UNKNOWN)
            return
        scope[PRINCIPAL] = found
        await self.app(scope, receive, send)


def _bearer(scope: Scope) -> bytes | None:
    """The one key of the request; None where there is none, or more than one header."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, secret = found[0].partition(b" ")
    secret = secret.strip()
    return secret if scheme.lower() == b"bearer" and 0 < len(secret) <= _LONGEST_KEY else None


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
MISSING = Refusal(
    status=401,
    code="api_key_missing",
    detail="No API key was sent. Send it as Authorization: Bearer sk_…",
    headers=_CHALLENGE,
)
_UNKNOWN = Refusal(
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
