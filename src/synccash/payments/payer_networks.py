"""On which network a payer's wallet really is, where that was proven and the number says otherwise.

Numbers move between networks. What is remembered here is a hint for the next order and no more: a network
that the caller names goes before it. No number is kept: a payer is a keyed hash over merchant, mode and
number, so what one merchant's payments have shown is never seen by another.
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
"""A proof that is younger is not written again."""


@dataclass(frozen=True, slots=True)
class ProvenNetwork:
    """A network that was proven, and when, as POSIX time in seconds."""

    network: Network
    at: float


@dataclass(slots=True)
class PayerNetworks:
    """Live: one per process, asked on the way of a payment without any input or output. Bounded: what was
    proven longest ago is forgotten first, and all of it after `retention_s` seconds (0: nothing is kept).

    Until it is given the installation's `secret` it knows and learns nothing.
    """

    now: Callable[[], datetime]
    retention_s: float
    secret: bytes | None = None
    _known: OrderedDict[bytes, ProvenNetwork] = field(default_factory=OrderedDict[bytes, ProvenNetwork])
    _news: dict[bytes, Network | None] = field(default_factory=dict[bytes, Network | None])

    def recall(self, tenant: Tenant, msisdn: Msisdn) -> Network | None:
        """The network that was proven for this payer of this merchant; None where only the number tells."""
        payer = self._payer(tenant, msisdn)
        return None if payer is None else self._recalled(payer)

    def proved(self, tenant: Tenant, msisdn: Msisdn, network: Network) -> None:
        """Money moved over this network."""
        payer = self._payer(tenant, msisdn)
        if payer is None:
            return
        known, at = self._known.get(payer), self.now().timestamp()
        if known is None and network is msisdn.network_hint:
            return
        if known is None or known.network is not network or at - known.at > _REFRESH_S:
            self._keep(payer, ProvenNetwork(network, at))
            self._news[payer] = network

    def disproved(self, tenant: Tenant, msisdn: Msisdn, network: Network) -> None:
        """There is no wallet on this network: what was known is no longer."""
        payer = self._payer(tenant, msisdn)
        if payer is not None and self._recalled(payer) is network:
            del self._known[payer]
            self._news[payer] = None

    def news(self) -> Mapping[bytes, Network | None]:
        """Hand over what has to be written down; None takes a payer out."""
        news, self._news = self._news, {}
        return news

    def learned_elsewhere(self, proven: Mapping[bytes, ProvenNetwork]) -> None:
        """What other processes, or this one before its start, have written down. Newer news here stand."""
        for payer, one in sorted(proven.items(), key=lambda item: item[1].at):
            known = self._known.get(payer)
            if payer not in self._news and (known is None or known.at < one.at):
                self._keep(payer, one)

    def _recalled(self, payer: bytes) -> Network | None:
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
        mode = "live" if tenant.livemode else "test"
        whom = f"{tenant.merchant_id}\0{mode}\0{msisdn.digits}".encode()
        return blake2b(whom, key=self.secret, digest_size=16).digest()
