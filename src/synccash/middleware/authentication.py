"""Authenticates requests by `Authorization: Bearer sk_…`, and checks what the key may do.

The key is looked up by its SHA-256.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.refusal import App, Receive, Refusal, Refuse, Scope, Send
from synccash.resilience.client_address import Address, is_within

PRINCIPAL = "synccash.principal"
"""Where a request's scope holds the principal of its API key."""

_MAX_KEY_BYTES = 200
KeyCheck = Callable[[Scope], Awaitable[Refusal | None]]


@dataclass(slots=True, kw_only=True)
class Authentication:
    """Decides by the headers alone, so no body is awaited from a caller without a key.

    `scopes_of` returns the scope that each method of a path needs; None for a path that needs no key. A
    handler behind any other path finds no principal and must refuse by itself. `client_ip` returns the
    client's address, for keys that only some addresses may use. `check_missing_key` decides about a request
    without a key: None answers 401, a Refusal is sent instead. `check_unknown_key` decides about a key that
    this process has not seen: None allows the lookup, a Refusal is sent instead. `unavailable` are the errors
    of a key store out of reach.
    """

    app: App
    keys: KnownKeys
    refuse: Refuse
    scopes_of: Callable[[str], Mapping[str, str] | None]
    client_ip: Callable[[Scope], Address | None]
    check_missing_key: KeyCheck
    check_unknown_key: KeyCheck
    unavailable: type[Exception]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or refuse it: 401, 403, 429 for many unknown keys, 503."""
        scopes = self.scopes_of(scope.get("path", ""))
        if scopes is None:
            await self.app(scope, receive, send)
            return
        secret = bearer_secret(scope)
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
        principal = scope[PRINCIPAL] = found.principal
        if found.networks and not is_within(address := self.client_ip(scope), found.networks):
            await self.refuse(scope, send, _address_refused(address))
            return
        needed = scopes.get(scope["method"])
        if needed is not None and needed not in principal.scopes:
            await self.refuse(scope, send, insufficient_scope(needed))
            return
        await self.app(scope, receive, send)


def bearer_secret(scope: Scope) -> bytes | None:
    """Return the key or token of the request; None without Authorization header, or with more than one."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, secret = found[0].partition(b" ")
    secret = secret.strip()
    return secret if scheme.lower() == b"bearer" and 0 < len(secret) <= _MAX_KEY_BYTES else None


def insufficient_scope(needed: str) -> Refusal:
    """Return the 403 of a key, or of an operator's role, without the scope that a route needs."""
    if needed.startswith("admin:"):
        detail = (
            f"This request needs the scope {needed}, which this admin key, or this operator's role, does not "
            "have. Use a key or a role that has it, or ask an operator with the role admin for one."
        )
    else:
        detail = (
            f"This request needs the scope {needed} of a merchant's key, and this API key does not have it. "
            "Use another key, or ask the operator for one that has the scope."
        )
    return Refusal(
        status=403,
        code="insufficient_scope",
        detail=detail,
        members={"required_scope": needed},
    )


def _address_refused(address: Address | None) -> Refusal:
    return Refusal(
        status=403,
        code="address_not_allowed",
        detail=f"This API key may not be used from the address {address or 'unknown'}. Send the request from "
        "an allowed address, or ask the operator to allow this one.",
    )


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
    detail="This API key or token does not exist, has expired or was revoked. Use a valid one, or ask the "
    "operator for one.",
    headers=_CHALLENGE,
)
UNAVAILABLE = Refusal(
    status=503,
    code="service_unavailable",
    detail="The database is unreachable; nothing was decided. Retry after Retry-After seconds.",
    retryable=True,
    retry_after_s=1.0,
)
