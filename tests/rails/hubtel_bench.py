"""Hubtel's connector on the bench, with credentials that its sandbox takes."""

from dataclasses import replace

from rails.rail_contract import Bench
from synccash.payments.rail import Environment, Operation, RailStatus
from synccash.rails.hubtel.connector import Hubtel, HubtelSettings
from synccash.settings.secret import Secret

POS, PREPAID = "2017001", "2017002"
CLIENT, SECRET = "a-client", "a-client-secret"


class HubtelBench(Bench):
    rail_id = "hubtel"
    # Whatever ends a collection without money, Hubtel says no more than Unpaid.
    ends = dict.fromkeys(["USSD_TIMEOUT", "WRONG_PIN"], RailStatus.PENDING)

    @classmethod
    async def on(cls, world, transport, **changes):
        credentials = {"client_id": CLIENT, "client_secret": SECRET}
        merchants = {"pos_sales_id": POS, "prepaid_deposit_id": PREPAID}
        answer = await world.control("PUT", "hubtel/credentials", credentials | merchants)
        assert answer.status == 200, answer.body
        hosts = dict.fromkeys(_HOSTS, world.sandbox.rail_urls["hubtel"])
        secrets = {name: Secret(text) for name, text in credentials.items()}
        settings = HubtelSettings(environment=Environment.TEST, **hosts | secrets | merchants | changes)
        bench = cls(world, Hubtel(settings, transport), transport)
        bench.settings = settings
        return bench

    def connector_at(self, base_url):
        return Hubtel(replace(self.settings, **dict.fromkeys(_HOSTS, base_url)), self.transport)

    def as_booked(self, reference):
        return reference.replace("-", "")

    def order(self, operation=Operation.COLLECT, **changes):
        return super().order(operation, **{"callback_url": "http://localhost:1/callback"} | changes)


_HOSTS = ("receive_url", "status_url", "send_url", "send_status_url")
