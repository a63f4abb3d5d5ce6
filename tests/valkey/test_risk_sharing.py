"""What one process's risk rules count, others hear of: on a real Valkey."""

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass, field, replace

import msgspec

from encryption_samples import ENCRYPTION
from payment_samples import PAYMENT, PAYOUT
from synccash.payments.risk import (
    ALLOWED,
    PayoutRules,
    RiskDecision,
    RiskInput,
    RiskOutcome,
    RiskRules,
    Velocity,
    VelocityCounters,
)
from synccash.stores.valkey.client import build_client
from synccash.stores.valkey.risk_sharing import SharedRiskInputs
from synccash.stores.valkey.session import open_session

LONG_S = 30.0
SHORT_S = 0.02
RULES = RiskRules(payer_count=Velocity(3, 3_600.0), duplicate_window_s=3_600.0)


@dataclass
class Process:
    """One process's watch, and all that it was told by others."""

    watch: VelocityCounters = field(
        default_factory=lambda: VelocityCounters(RULES, PayoutRules(general=RULES))
    )
    told: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def hear(self, seen: RiskInput, decision: RiskDecision) -> None:
        self.watch.receive(seen, decision, time.monotonic())
        self.told.put_nowait(seen.reference)

    def hear_not_opened(self, seen: RiskInput) -> None:
        self.watch.receive_not_opened(seen, time.monotonic())
        self.told.put_nowait(f"not {seen.reference}")

    def assess(self, number: int, **changes) -> RiskDecision:
        asked = {"reference": f"order {number}", "amount": 100 + number} | changes
        return self.watch.assess(replace(PAYMENT, **asked), time.monotonic())

    def pay_out(self, number: int) -> RiskDecision:
        payout = replace(PAYOUT, reference=f"order {number}", amount=100 + number)
        return self.watch.assess(payout, time.monotonic())

    def not_paid_out(self, number: int) -> None:
        payout = replace(PAYOUT, reference=f"order {number}", amount=100 + number)
        self.watch.not_opened(payout, time.monotonic())

    async def heard_of(self, number: int) -> None:
        async with asyncio.timeout(LONG_S):
            while await self.told.get() != f"order {number}":
                pass


@contextlib.asynccontextmanager
async def running(url, name, encryption=None):
    process = Process()
    async with open_session(url, name) as session:
        shared = SharedRiskInputs(session, process.hear, process.hear_not_opened, encryption=encryption)
        process.watch.publish = shared.publish
        process.watch.publish_not_opened = shared.publish_not_opened
        shared.start()
        try:
            yield process
        finally:
            await shared.close()


@contextlib.asynccontextmanager
async def two_of(url, encryption=None):
    """Two processes, of which the second hears the first."""
    async with running(url, "one", encryption) as one, running(url, "two", encryption) as two:
        await reaches(one, two)
        yield one, two


async def reaches(teller, listener):
    """Speak until it is heard: a listener is not known to have subscribed before."""
    hearing = asyncio.create_task(listener.told.get())
    async with asyncio.timeout(LONG_S):
        for number in itertools.count(1_000):
            teller.assess(number, livemode=not PAYMENT.livemode, merchant_id=f"m_{number}")
            if (await asyncio.wait([hearing], timeout=SHORT_S))[0]:
                return


async def test_payments_in_two_processes_count_against_one_limit_and_look_like_a_double(valkey_url):
    async with two_of(valkey_url) as (one, two):
        assert [one.assess(number) for number in (1, 2, 3)] == [ALLOWED] * 3
        await two.heard_of(3)
        assert two.assess(4).reasons == ("payer_too_often",)
        assert two.assess(5, amount=103).reasons == ("looks_like_a_double", "payer_too_often")


async def test_a_request_that_is_repeated_at_another_process_is_told_the_same(valkey_url):
    async with two_of(valkey_url) as (one, two):
        said = [one.assess(number) for number in (1, 2, 3, 4)]
        assert said[-1].outcome is RiskOutcome.DECLINE
        await two.heard_of(4)
        assert [two.assess(number) for number in (1, 2, 3, 4)] == said


async def test_while_valkey_is_away_each_counts_for_itself_and_afterwards_together_again(stoppable_valkey):
    async with two_of(stoppable_valkey.url) as (one, two):
        stoppable_valkey.kill()
        assert [one.assess(number).outcome for number in (1, 2, 3, 4)][2:] == [
            RiskOutcome.ALLOW,
            RiskOutcome.DECLINE,
        ]
        assert two.assess(9) == ALLOWED
        stoppable_valkey.start()
        while not two.told.empty():
            two.told.get_nowait()
        await reaches(one, two)


async def test_what_no_process_of_ours_would_say_is_passed_over(valkey_url):
    client = build_client(valkey_url)
    async with two_of(valkey_url) as (one, two):
        for noise in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x92\xa1x\x91\x01"):
            await client.publish("synccash:risk", noise)
        one.assess(1)
        await two.heard_of(1)
    await client.aclose()


async def test_payouts_in_two_processes_count_against_one_limit(valkey_url):
    async with two_of(valkey_url) as (one, two):
        assert [one.pay_out(number) for number in (1, 2, 3)] == [ALLOWED] * 3
        await two.heard_of(3)
        assert two.pay_out(4).reasons == ("payee_too_often",)
        assert two.assess(5) == ALLOWED


async def test_a_process_that_knows_only_payments_leaves_payouts_unread(valkey_url):
    client = build_client(valkey_url)
    async with client.pubsub() as channel, running(valkey_url, "one") as one:
        await channel.subscribe("synccash:risk")
        await channel.get_message(timeout=LONG_S)
        one.pay_out(1)
        message = await channel.get_message(timeout=LONG_S)
    await client.aclose()
    source, seen, payouts, _ = msgspec.msgpack.decode(message["data"])
    assert (source, seen, len(payouts)) == ("one", [], 1)


async def test_a_payout_that_is_not_opened_after_all_counts_in_no_process(valkey_url):
    async with two_of(valkey_url) as (one, two):
        assert [one.pay_out(number) for number in (1, 2, 3)] == [ALLOWED] * 3
        await two.heard_of(3)
        for number in (1, 2, 3):
            one.not_paid_out(number)
        assert one.pay_out(3) == ALLOWED
        one.not_paid_out(3)
        assert [one.pay_out(number) for number in (4, 5)] == [ALLOWED] * 2
        await two.heard_of(5)
        assert [two.pay_out(number).outcome for number in (6, 7)] == [RiskOutcome.ALLOW, RiskOutcome.DECLINE]


async def test_messages_are_encrypted_and_plain_ones_of_others_are_not_believed(valkey_url):
    client = build_client(valkey_url)
    async with (
        client.pubsub() as channel,
        two_of(valkey_url, ENCRYPTION) as (one, two),
        running(valkey_url, "three") as without_keys,
    ):
        await channel.subscribe("synccash:risk")
        await channel.get_message(timeout=LONG_S)
        for number in (1, 2, 3):
            without_keys.assess(number)
        while b"three" not in (await channel.get_message(timeout=LONG_S))["data"]:
            pass
        one.assess(4)
        await two.heard_of(4)
        message = await channel.get_message(ignore_subscribe_messages=True, timeout=LONG_S)
        while b"three" in message["data"]:
            message = await channel.get_message(timeout=LONG_S)
        assert PAYMENT.payer.msisdn.digits.encode() not in message["data"]
        assert two.assess(5) == ALLOWED, "only the payment of the process with the keys counts"
    await client.aclose()
