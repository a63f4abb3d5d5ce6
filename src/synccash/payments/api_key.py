"""API keys: how one is made, and how its scopes and addresses are read."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv6Network, ip_network

from synccash.payments.access import DEFAULT_SCOPES, SCOPES_OF_ROLE, AccessScope
from synccash.payments.request import Role
from synccash.resilience.client_address import Network

NAME_MAX = 100
NETWORKS_MAX = 100
OVERLAP_MAX = timedelta(days=90)
EXPIRY_MAX = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key that is about to be stored. The secret is shown once, and only its SHA-256 is stored.

    `expires_in`: the time from its creation; None for a key that does not expire. `networks`: the client
    addresses that may use it; empty for all.
    """

    secret: str = field(repr=False)
    role: Role
    merchant_id: str | None
    livemode: bool
    scopes: frozenset[AccessScope]
    name: str = ""
    networks: tuple[Network, ...] = ()
    expires_in: timedelta | None = None

    @property
    def secret_hash(self) -> bytes:
        """The SHA-256 of the secret."""
        return sha256(self.secret.encode()).digest()

    @property
    def id(self) -> str:
        """The public id."""
        return key_id_of(self.secret_hash)


def key_id_of(secret_hash: bytes) -> str:
    """Return the public id of a key, derived from the hash of its secret."""
    return f"key_{secret_hash.hex()[:16]}"


def new_secret(role: Role, *, livemode: bool) -> str:
    """Return a new random secret; its prefix tells what kind of key it is."""
    kind = "admin" if role is Role.ADMIN else "live" if livemode else "test"
    return f"sk_{kind}_{secrets.token_hex(24)}"


def read_scopes(names: Iterable[str] | None, role: Role) -> frozenset[AccessScope]:
    """Return the scopes of a new key; for None those that a key of this role has by default.

    Raises ValueError for an empty list, and for scopes that do not exist or that the role cannot have.
    """
    if names is None:
        return DEFAULT_SCOPES[role]
    allowed = SCOPES_OF_ROLE[role]
    expected = ", ".join(scope for scope in AccessScope if scope in allowed)
    given = frozenset(names)
    if not given or not given <= allowed:
        wrong = ", ".join(sorted(given - allowed)) or "none"
        raise ValueError(f"{wrong} given; expected one or more of {expected}")
    return frozenset([AccessScope(name) for name in given])


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of an IP list, such as 203.0.113.7 or 2001:db8::/32.

    Raises ValueError that names the invalid one, or tells that there are too many.
    """
    found = tuple(dict.fromkeys(_network(text.strip()) for text in texts))
    if len(found) > NETWORKS_MAX:
        raise ValueError(f"expected at most {NETWORKS_MAX} networks")
    return found


def _network(text: str) -> Network:
    """Raises ValueError also for what no client's address is ever compared equal to."""
    found = ip_network(text)
    if isinstance(found, IPv6Network):
        if found.network_address.scope_id is not None:
            raise ValueError(f"{text} has a zone, which an address of a client never has")
        if found.network_address.ipv4_mapped is not None:
            raise ValueError(f"{text} is an IPv4 address in IPv6 notation: write it as IPv4")
    return found
