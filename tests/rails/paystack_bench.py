"""Paystack's connector on the bench."""

from dataclasses import replace

from rails.rail_contract import Bench
from synccash.engine.system import SystemClock
from synccash.payments.rail import AttemptDetails, Environment, Operation, RailStatus
from synccash.rails.paystack.connector import Paystack, PaystackSettings
from synccash.settings.secret import Secret

SECRET_KEY = "sk_test_of_the_bench"


class PaystackBench(Bench):
    rail_id = "paystack"
    ends = dict.fromkeys(
        ["INSUFFICIENT_FUNDS", "DECLINED", "TIMED_OUT", "NOT_REGISTERED", "LIMIT_REACHED", "SOMETHING_NEW"],
        RailStatus.FAILED,
    ) | {"ABANDONED": RailStatus.PENDING}

    @classmethod
    async def on(cls, world, transport, webhook_url=None):
        answer = await world.control(
            "PUT", "paystack/credentials", {"secret_key": SECRET_KEY, "webhook_url": webhook_url}
        )
        assert answer.status == 200, answer.body
        settings = PaystackSettings(
            base_url=world.sandbox.rail_urls["paystack"],
            account="main",
            environment=Environment.TEST,
            secret_key=Secret(SECRET_KEY),
            email="payments@example.com",
        )
        bench = cls(world, Paystack(settings, transport, SystemClock()), transport)
        bench.settings = settings
        return bench

    def connector_at(self, base_url):
        return Paystack(replace(self.settings, base_url=base_url), self.transport, SystemClock())

    async def inquire(self, order, *, timeout_s=10.0):
        details = AttemptDetails(
            amount=order.amount,
            original_reference=order.original_reference,
            original_transaction_id=order.original_transaction_id,
        )
        return await self.rail.inquire(
            order.account, order.operation, order.reference, timeout_s=timeout_s, details=details
        )

    async def refund_of(self, collected, **changes):
        await self.send(collected)
        paid = await self.inquire(collected)
        assert paid.status_at_rail is RailStatus.SUCCEEDED
        given = {
            "original_reference": collected.reference,
            "original_transaction_id": paid.provider_transaction_id,
        }
        return self.order(Operation.REFUND, **given | changes)
