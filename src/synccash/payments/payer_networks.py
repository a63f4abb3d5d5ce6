"""Remembers the proven network of payers whose number was ported to a network that its prefix does not show.

Numbers are portable. A remembered network is only a hint for the next order: a network that the request names
takes precedence. No number is stored: the key is a keyed hash over merchant, mode and number, so one
merchant's payments never reveal anything to another.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from synccash.payments.payer import Msisdn, Network
from synccash.payments.request import Tenant

MOST = 100_000
"""How many payers are remembered."""
_REFRESH_S = 86_400.0
"""A newer proof of the same network is written again only after this time, in seconds."""


@dataclass(frozen=True, slots=True)
class ProvenNetwork:
    """A proven network, and the time of the proof as POSIX time in seconds."""

    network: Network
    at: float


@dataclass(slots=True)
class PayerNetworks:
    """Holds the proven networks of payers in memory. One per process. Lookups do no I/O.

    Bounded: the oldest proofs are dropped first, and every proof expires after `retention_s` seconds (0:
    nothing is stored).

    Without the installation's `secret` it stores and returns nothing.
    """

    now: Callable[[], datetime]
    retention_s: float
    secret: bytes | None = None
    _known: OrderedDict[bytes, ProvenNetwork] = field(default_factory=OrderedDict[bytes, ProvenNetwork])
    _changes: dict[bytes, Network | None] = field(default_factory=dict[bytes, Network | None])

    def network_of(self, tenant: Tenant, msisdn: Msisdn) -> Network | None:
        """Return the proven network of this merchant's payer; None when only the prefix is known."""
        payer = self._payer(tenant, msisdn)
        return None if payer is None else self._known_network(payer)

    def record_proof(self, tenant: Tenant, msisdn: Msisdn, network: Network) -> None:
        """Record that money moved over this network."""
        payer = self._payer(tenant, msisdn)
        if payer is None:
            return
        known, at = self._known.get(payer), self.now().timestamp()
        if known is None and network is msisdn.network_hint:
            return
        if known is None or known.network is not network or at - known.at > _REFRESH_S:
            self._keep(payer, ProvenNetwork(network, at))
            self._changes[payer] = network

    def remove_proof(self, tenant: Tenant, msisdn: Msisdn, network: Network) -> None:
        """Record that the payer has no wallet on this network: a proof of it is removed."""
        payer = self._payer(tenant, msisdn)
        if payer is not None and self._known_network(payer) is network:
            del self._known[payer]
            self._changes[payer] = None

    def take_changes(self) -> Mapping[bytes, Network | None]:
        """Return the changes to store, and clear them; None removes a payer."""
        changes, self._changes = self._changes, {}
        return changes

    def load_stored(self, proven: Mapping[bytes, ProvenNetwork]) -> None:
        """Load stored proofs: those of other processes, and earlier ones. Unsaved local changes win."""
        for payer, one in sorted(proven.items(), key=lambda item: item[1].at):
            known = self._known.get(payer)
            if payer not in self._changes and (known is None or known.at < one.at):
                self._keep(payer, one)

    def _known_network(self, payer: bytes) -> Network | None:
        known = self._known.get(payer)
        if known is None or self.now().timestamp() - known.at > self.retention_s:
            return None
        return known.network

    def _keep(self, payer: bytes, proven: ProvenNetwork) -> None:
        self._known[payer] = proven
        self._known.move_to_end(payer)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def _payer(self, tenant: Tenant, msisdn: Msisdn) -> bytes | None:
        if self.secret is None or self.retention_s <= 0:
            return None
        return payer_hash(self.secret, tenant, msisdn)


def payer_hash(secret: bytes, tenant: Tenant, msisdn: Msisdn) -> bytes:
    """Return what is stored in place of a payer's number."""
    mode = "live" if tenant.livemode else "test"
    message = f"{tenant.merchant_id}\0{mode}\0{msisdn.digits}".encode()
    return blake2b(message, key=secret, digest_size=16).digest()
