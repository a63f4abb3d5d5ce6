"""Feeds ended attempts back to routing: rail health, rail floats, and the network that a wallet is on."""

from collections.abc import Mapping
from dataclasses import dataclass

from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.ports import Rail
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, RefundCase, requested
from synccash.payments.failure import FailureCode
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.rail import CallbackAddress
from synccash.payments.request import Tenant


@dataclass(frozen=True, slots=True)
class OutcomeFeedback:
    """Records how attempts ended in the in-memory state that the router reads. Nothing is committed."""

    rails: Mapping[str, Rail]
    health: RailHealth
    networks: PayerNetworks
    floats: RailFloats

    def ended(self, case: Case, after: Attempt) -> None:
        """Record how the attempt ended, and whether a callback had come before the inquiry that told it."""
        calls_back = self.rails[after.rail].capabilities.callback_address is not CallbackAddress.NONE
        named = requested(case).wallet
        self.health.record_end(after, named.likely_network, callback_came=case.hinted if calls_back else None)
        if after.failure is not None and after.failure.code is FailureCode.FLOAT_TOO_LOW:
            self.floats.refused(after.rail, named.likely_network, after.amount)
        self.network(case, after)

    def network(self, case: Case, after: Attempt) -> None:
        """Record the wallet's network: money that moved proves it, `invalid_payer` disproves it."""
        if isinstance(case, RefundCase):
            return
        order = case.order
        wallet, tenant = order.wallet, Tenant(order.merchant_id, order.livemode)
        network = wallet.likely_network
        if network is None:
            return
        if after.state is AttemptState.SUCCEEDED:
            self.networks.record_proof(tenant, wallet.msisdn, network)
        elif after.failure is not None and after.failure.code is FailureCode.INVALID_PAYER:
            self.networks.remove_proof(tenant, wallet.msisdn, network)
