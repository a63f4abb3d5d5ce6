"""MTN's connector on the bench, with credentials that its sandbox hands out."""

from dataclasses import replace

from rails.rail_contract import Bench
from synccash.engine.system import SystemClock
from synccash.payments.rail import Environment, RailStatus
from synccash.rails.mtn_momo.connector import MtnMomo, MtnMomoSettings, ProductCredentials
from synccash.settings.secret import Secret

API_USER = "dXNlcg=="
API_KEY = "an-api-key"


class MtnBench(Bench):
    rail_id = "mtn_momo"
    ends = dict.fromkeys(
        [
            "PAYER_NOT_FOUND",
            "NOT_ENOUGH_FUNDS",
            "APPROVAL_REJECTED",
            "EXPIRED",
            "COULD_NOT_PERFORM_TRANSACTION",
            "INTERNAL_PROCESSING_ERROR",
            "SERVICE_UNAVAILABLE",
            "SOMETHING_NEW",
        ],
        RailStatus.FAILED,
    )

    @classmethod
    async def on(cls, world, transport, clock=None, **changes):
        """Put a connector on the bench; `changes` go to its settings."""
        answer = await world.control(
            "PUT",
            "mtn_momo/credentials",
            {"api_user": API_USER, "api_key": API_KEY, "callback_host": "localhost"},
        )
        assert answer.status == 200, answer.body
        # The sandbox's own cap has tests of its own.
        await world.settings(status_per_s=0)
        credentials = ProductCredentials(
            user=API_USER, key=Secret(API_KEY), subscription_key=Secret("a-subscription")
        )
        settings = MtnMomoSettings(
            **{
                "base_url": world.momo_url,
                "account": "main",
                "target_environment": "mtnghana",
                "platform": "legacy",
                "currency": "GHS",
                "environment": Environment.TEST,
                "collection": credentials,
                "disbursement": credentials,
                "status_per_s": 1_000.0,
            }
            | changes
        )
        clock = clock or SystemClock()
        bench = cls(world, MtnMomo(settings, transport, clock), transport)
        bench.settings = settings
        bench.clock = clock
        return bench

    def connector_at(self, base_url):
        return MtnMomo(replace(self.settings, base_url=base_url), self.transport, self.clock)
