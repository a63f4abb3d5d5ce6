"""Returns the callers of requests, for services whose callers are all of one tenant."""

from collections.abc import Callable

from synccash.middleware.refusal import Scope
from synccash.middleware.request_guard import Caller
from synccash.resilience.client_address import client_address, trusted_networks


def one_tenant(name: str, *, trusted: str = "") -> Callable[[Scope], Caller]:
    """Return an `identify` for which all callers are one tenant: they share their Idempotency-Keys.

    Callers who must not see each other's answers need tenants of their own; return the account of their API
    key or session as `Caller.tenant` instead. `trusted` lists the networks of proxies whose X-Forwarded-For
    is believed, such as `10.0.0.0/8, ::1`.
    """
    networks = trusted_networks(trusted)

    def identify(scope: Scope) -> Caller:
        peer = scope.get("client")
        forwarded = [value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for"]
        return Caller(ip=client_address(peer[0] if peer else None, forwarded, networks), tenant=name)

    return identify
