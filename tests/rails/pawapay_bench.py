"""pawaPay's connector on the bench, with a token that its sandbox is told to accept."""

from dataclasses import replace

from rails.rail_contract import Bench
from synccash.engine.system import SystemClock
from synccash.payments.rail import Environment, RailStatus
from synccash.rails.pawapay.connector import Pawapay, PawapaySettings
from synccash.settings.secret import Secret

TOKEN = "a-secret-token"


class PawapayBench(Bench):
    rail_id = "pawapay"
    ends = dict.fromkeys(
        [
            "PAYER_NOT_FOUND",
            "PAYMENT_NOT_APPROVED",
            "INSUFFICIENT_BALANCE",
            "PAYER_LIMIT_REACHED",
            "PAYMENT_IN_PROGRESS",
            "PROVIDER_TEMPORARILY_UNAVAILABLE",
            "UNSPECIFIED_FAILURE",
            "UNKNOWN_ERROR",
            "SOMETHING_NEW",
        ],
        RailStatus.FAILED,
    )

    @classmethod
    async def on(cls, world, transport, **changes):
        """Put a connector on the bench; `changes` go to the account's set-up at pawaPay."""
        answer = await world.control("PUT", "pawapay/settings", {"token": TOKEN} | changes)
        assert answer.status == 200, answer.body
        settings = PawapaySettings(
            base_url=world.sandbox.rail_urls["pawapay"],
            account="main",
            environment=Environment.TEST,
            token=Secret(TOKEN),
            status_per_s=1_000.0,
        )
        bench = cls(world, Pawapay(settings, transport, SystemClock()), transport)
        bench.settings = settings
        return bench

    def connector_at(self, base_url):
        return Pawapay(replace(self.settings, base_url=base_url), self.transport, SystemClock())
