"""What identifies a request under an Idempotency-Key: the scope of the key, the key, and the fingerprint.

It is computed here, once for each request, for all that store it: PostgreSQL's claims, Valkey's stored
answers, and the requests that run in this process.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from synccash.middleware.matching import Endpoint
from synccash.middleware.refusal import Scope
from synccash.resilience.idempotency import fingerprint, idempotency_key

IDENTITY = "synccash.request_identity"
"""Where the scope of a request to an idempotent endpoint holds its RequestIdentity, or the
IdempotencyKeyError that its header raised. Absent where the endpoint or the tenant takes no keys."""


@dataclass(frozen=True, slots=True, eq=False)
class FormerFingerprints:
    """The fingerprints that earlier versions may have stored for a request: without the query, and some with
    the path as it was sent. Computed when a stored fingerprint differs, which is rare."""

    sent_path: str
    payload: Any

    def __iter__(self) -> Iterator[bytes]:
        path = matched_path(self.sent_path)
        for former in dict.fromkeys((path, self.sent_path, f"{path}/", f"/{path}", f"/{path}/")):
            yield fingerprint(former, self.payload)


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """`scope` and `key` name the claim, `fingerprint` the request that was made with it.

    `former_fingerprints` are those that earlier versions may have stored for the same request.
    """

    scope: str
    key: str
    fingerprint: bytes
    former_fingerprints: Iterable[bytes] = ()

    @property
    def answer_name(self) -> str:
        """The name of the stored answer. A key has no line feed, so two identities never share a name."""
        return f"{self.scope}\n{self.key}"

    def matches(self, stored: bytes) -> bool:
        """True when what has this fingerprint was stored for the same request."""
        return stored == self.fingerprint or stored in self.former_fingerprints


def request_identity(scope: Scope, tenant: str, endpoint: Endpoint, payload: Any) -> RequestIdentity:
    """Return the identity of a request; `payload` is its body as `read_json` gave it.

    The fingerprint covers the whole path: two applications that are mounted under different prefixes may have
    the same endpoints. Where the handler claims keys in its own commit, it does not cover the query: the
    handler rejects a query that it does not expect, and earlier versions compare the same fingerprint.

    Raises IdempotencyKeyError when the header is missing or cannot be used.
    """
    key = idempotency_key([value for name, value in scope["headers"] if name == b"idempotency-key"])
    query: bytes | None = None if endpoint.idempotent == "handled" else scope.get("query_string", b"")
    return RequestIdentity(
        scope=_claim_scope(tenant, endpoint),
        key=key,
        fingerprint=fingerprint(matched_path(scope["path"]), payload, query),
        former_fingerprints=FormerFingerprints(scope["path"], payload),
    )


def _claim_scope(tenant: str, endpoint: Endpoint) -> str:
    """Return the text that a unique index or a ClaimStore finds a stored claim by.

    Claims in the handler's own commit and claims that the middleware stores have always been spelled
    differently; another spelling would hide those that are stored, and a repeat would run twice.
    """
    separator = ":" if endpoint.idempotent == "handled" else " "
    return f"{tenant}:{endpoint.method}{separator}{endpoint.path}"


def matched_path(path: str) -> str:
    """Return the path as routers match it: doubled and trailing slashes name no other resource."""
    return "/" + "/".join([part for part in path.split("/") if part])
