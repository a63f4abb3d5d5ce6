"""Who is calling: `Authorization: Bearer sk_…`, looked up by the SHA-256 of the key."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from synccash.middleware.refusal import App, Receive, Refusal, Refuse, Scope, Send

PRINCIPAL = "synccash.principal"
"""Where a request's scope holds who is calling."""

_REMEMBERED = 10_000
_LONGEST_KEY = 200


class Keyring(Protocol):
    """The known keys. It returns None for an unknown one; what it raises is answered as unavailable."""

    async def principal(self, secret_hash: bytes) -> Any | None: ...


@dataclass(slots=True)
class Authentication:
    """Live: remembers known keys for `cache_s` seconds, so a revoked one may pass for that long.

    `needs_key` says of a path whether anything behind it asks who is calling; what asks without having been
    named here finds no principal and has to refuse by itself. Unknown keys are never remembered.
    `unavailable` are the errors of a keyring out of reach.
    """

    app: App
    keyring: Keyring
    refuse: Refuse
    needs_key: Callable[[str], bool]
    unavailable: type[Exception]
    cache_s: float = 5.0
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[bytes, tuple[float, Any]] = field(
        default_factory=OrderedDict[bytes, tuple[float, Any]]
    )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or refuse it with 401."""
        if not self.needs_key(scope.get("path", "")):
            await self.app(scope, receive, send)
            return
        secret = _bearer(scope)
        try:
            principal = None if secret is None else await self._principal(sha256(secret).digest())
        except self.unavailable:
            await self.refuse(scope, send, UNAVAILABLE)
            return
        if principal is None:
            await self.refuse(scope, send, MISSING if secret is None else _UNKNOWN)
            return
        scope[PRINCIPAL] = principal
        await self.app(scope, receive, send)

    async def _principal(self, secret_hash: bytes) -> Any | None:
        now = self.clock()
        known = self._known.get(secret_hash)
        if known is not None and known[0] > now:
            return known[1]
        principal = await self.keyring.principal(secret_hash)
        if principal is None:
            self._known.pop(secret_hash, None)
            return None
        self._known[secret_hash] = (now + self.cache_s, principal)
        self._known.move_to_end(secret_hash)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal


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
    detail="send your API key as Authorization: Bearer sk_…",
    headers=_CHALLENGE,
)
_UNKNOWN = Refusal(
    status=401, code="api_key_unknown", detail="this API key is not known or was revoked", headers=_CHALLENGE
)
UNAVAILABLE = Refusal(
    status=503,
    code="service_unavailable",
    detail="the database is out of reach; nothing was decided",
    retryable=True,
    retry_after_s=1.0,
)
