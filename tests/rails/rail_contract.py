"""What every connector keeps, tried against its sandbox: connector x fault.

A connector joins by three steps: a Bench of its own (its settings and its numbers), a class that inherits
RailContract, and a fixture `bench` in that class. See docs/adding-a-rail.md and test_mtn_momo_contract.py.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from uuid import uuid4

import pytest

from rails.raw_server import answering, raw_server
from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import Operation, RailStatus, SendOrder
from synccash.resilience.evidence import Evidence

AMOUNT = 2505
REFUSED = {Evidence.REFUSED_LATER, Evidence.REFUSED_FINAL}


class Bench:
    """One connector on the bench. `world` is a `sandbox.momo.World`, whose payers approve at once.

    What a rail has of its own is written over these: its numbers, how its book spells a reference, what ends
    a payment, and a connector made for another address.
    """

    rail_id: str
    network = Network.MTN
    payer = "233241234567"
    ends: Mapping[str, RailStatus] = MappingProxyType({})
    """The rail's own reasons for `end` of the sandbox's script, and how each stands in an inquiry."""

    def __init__(self, world, rail, transport):
        self.world = world
        self.rail = rail
        self.transport = transport

    def connector_at(self, base_url):
        """A connector of the same account, set up with its token or keys, that sends to another address."""
        raise AssertionError(f"{type(self).__name__} has to say how its connector is made")

    def as_booked(self, reference):
        """How the rail's book spells our reference."""
        return reference

    def order(self, operation=Operation.COLLECT, **changes):
        given = {
            "operation": operation,
            "account": self.rail.account,
            "reference": str(uuid4()),
            "amount": AMOUNT,
            "currency": "GHS",
            "msisdn": self.payer,
            "network": self.network,
            "note": "Two tickets",
            "merchant_reference": "order-1",
        }
        return SendOrder(**given | changes)

    async def send(self, order, *, timeout_s=10.0):
        return await self.rail.send(order, timeout_s=timeout_s)

    async def inquire(self, order, *, timeout_s=10.0):
        return await self.rail.inquire(order.account, order.operation, order.reference, timeout_s=timeout_s)

    async def faults(self, **faults):
        answer = await self.world.control("PUT", f"{self.rail_id}/faults", faults)
        assert answer.status == 200, answer.body

    async def script(self, *steps):
        answer = await self.world.control("PUT", f"{self.rail_id}/script", {"next": list(steps)})
        assert answer.status == 200, answer.body

    async def booked(self, side, order):
        """The entries of the rail's book for an order: `debits`, `credits` or `prompts`."""
        book = (await self.world.control("GET", f"{self.rail_id}/book")).body
        reference = self.as_booked(order.reference)
        return [entry for entry in book[side] if entry["reference"] == reference]

    async def warmed(self):
        """Have a payment behind it, so that tokens are held and connections are open."""
        assert (await self.send(self.order())).evidence is Evidence.ACCEPTED


# What the rail does to a request, what may be made of it, and whether it is in the book.
AMBIGUOUS = {Evidence.AMBIGUOUS}
SENDS = {
    "it is accepted": ({}, {Evidence.ACCEPTED}, True),
    "the line is cut before it is booked": ({"answer": "drop"}, AMBIGUOUS, False),
    "the line is cut after it was booked": ({"answer": "drop", "commit": True}, AMBIGUOUS, True),
    "an empty 500 before it is booked": ({"answer": "http_500"}, AMBIGUOUS, False),
    "an empty 500 after it was booked": ({"answer": "http_500", "commit": True}, AMBIGUOUS, True),
    "the rail says not now": ({"answer": "http_503"}, AMBIGUOUS | {Evidence.REFUSED_LATER}, False),
    "the rail says too many": ({"answer": "http_429"}, AMBIGUOUS | {Evidence.REFUSED_LATER}, False),
    "a gateway's page before it is booked": ({"answer": "html_403"}, AMBIGUOUS | REFUSED, False),
    "a page of maintenance before it is booked": ({"answer": "maintenance_200"}, AMBIGUOUS, False),
    "a page of maintenance after it was booked": (
        {"answer": "maintenance_200", "commit": True},
        AMBIGUOUS,
        True,
    ),
}


class RailContract:
    """Inherit, and give a fixture `bench`."""

    @pytest.mark.parametrize("fault", list(SENDS))
    async def test_a_send_claims_what_it_proves_and_the_inquiry_says_what_the_book_says(self, bench, fault):
        step, allowed, is_booked = SENDS[fault]
        await bench.warmed()
        order = bench.order()
        await bench.script({"on": "money"} | step)
        answer = await bench.send(order)
        assert answer.evidence in allowed
        assert (answer.failure is None) == (answer.evidence is Evidence.ACCEPTED)
        debits = await bench.booked("debits", order)
        assert [debit["amount"] for debit in debits] == ([AMOUNT] if is_booked else [])
        status = await bench.inquire(order)
        if is_booked:
            assert status.status_at_rail is RailStatus.SUCCEEDED
            assert status.amount in (None, AMOUNT)
            assert status.currency in (None, order.currency)
            assert status.reference == order.reference
        else:
            assert status.status_at_rail is not RailStatus.SUCCEEDED
            assert status.status_at_rail is not RailStatus.FAILED

    @pytest.mark.parametrize("faults", [{"error_rate": 0.5}, {"drop": "before_commit", "drop_rate": 0.5}])
    async def test_on_a_rail_that_fails_half_the_time_the_book_has_what_was_accepted(self, bench, faults):
        await bench.warmed()
        await bench.faults(**faults)
        orders = [bench.order() for _ in range(20)]
        answers = [await bench.send(order) for order in orders]
        assert {answer.evidence for answer in answers} == {Evidence.ACCEPTED, Evidence.AMBIGUOUS}
        for order, answer in zip(orders, answers, strict=True):
            accepted = answer.evidence is Evidence.ACCEPTED
            assert len(await bench.booked("debits", order)) == accepted
            assert ((await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED) == accepted

    async def test_what_was_proven_not_to_have_happened_is_not_in_the_book(self, bench):
        await bench.warmed()
        proven = []
        for answer in ("http_503", "http_429", "html_403", "http_500", "maintenance_200", "drop"):
            order = bench.order()
            await bench.script({"on": "money", "answer": answer})
            if (await bench.send(order)).evidence.proves_nothing_happened:
                proven.append(answer)
                assert await bench.booked("prompts", order) == []
        assert "http_429" in proven

    async def test_a_rail_that_is_down_was_not_sent_to(self, bench):
        await bench.warmed()
        await bench.faults(down=True)
        order = bench.order()
        assert (await bench.send(order)).evidence is Evidence.NOT_SENT
        assert (await bench.inquire(order)).status_at_rail is RailStatus.NO_INFORMATION
        await bench.faults(down=False)
        assert (await bench.send(order)).evidence is Evidence.ACCEPTED
        assert len(await bench.booked("debits", order)) == 1

    async def test_no_answer_in_time_is_ambiguous(self, bench):
        await bench.warmed()
        await bench.faults(latency_ms=600_000)
        order = bench.order()
        assert (await bench.send(order, timeout_s=0.3)).evidence is Evidence.AMBIGUOUS
        assert (await bench.inquire(order, timeout_s=0.3)).status_at_rail is RailStatus.NO_INFORMATION

    async def test_no_time_left_was_not_sent(self, bench):
        await bench.warmed()
        order = bench.order()
        assert (await bench.send(order, timeout_s=0.0)).evidence is Evidence.NOT_SENT
        assert await bench.booked("prompts", order) == []

    async def test_a_reference_that_is_sent_again_is_debited_once(self, bench):
        order = bench.order()
        await bench.script({"on": "money", "answer": "drop", "commit": True})
        first, second = await bench.send(order), await bench.send(order)
        assert first.evidence is Evidence.AMBIGUOUS
        if bench.rail.capabilities.operations[Operation.COLLECT].dedup_by_reference:
            assert (second.evidence, second.duplicate) == (Evidence.ACCEPTED, True)
        else:
            # Nobody re-sends here; should it happen all the same, a refusal of the repeat is no proof.
            assert not second.evidence.proves_nothing_happened
        assert len(await bench.booked("debits", order)) == 1

    async def test_the_same_reference_sent_at_once_many_times_is_debited_once(self, bench):
        order = bench.order()
        answers = await asyncio.gather(*(bench.send(order) for _ in range(10)))
        if bench.rail.capabilities.operations[Operation.COLLECT].dedup_by_reference:
            assert {answer.evidence for answer in answers} == {Evidence.ACCEPTED}
            assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 9
        else:
            assert not any(answer.evidence.proves_nothing_happened for answer in answers)
        assert len(await bench.booked("debits", order)) == 1

    async def test_an_unknown_reference_is_neither_paid_nor_failed(self, bench):
        status_at_rail = (await bench.inquire(bench.order())).status_at_rail
        assert status_at_rail in (RailStatus.NOT_FOUND, RailStatus.NO_INFORMATION, RailStatus.PENDING)

    async def test_a_payment_that_cannot_be_seen_yet_is_not_failed(self, bench):
        order = bench.order()
        await bench.script({"on": "money", "visible_after_ms": 60_000})
        assert (await bench.send(order)).evidence is Evidence.ACCEPTED
        status_at_rail = (await bench.inquire(order)).status_at_rail
        assert status_at_rail in (RailStatus.NOT_FOUND, RailStatus.NO_INFORMATION, RailStatus.PENDING)
        assert len(await bench.booked("debits", order)) == 1

    async def test_a_payer_who_has_not_answered_is_pending(self, bench):
        order = bench.order()
        await bench.script({"on": "money", "end": "NEVER"})
        assert (await bench.send(order)).evidence is Evidence.ACCEPTED
        assert (await bench.inquire(order)).status_at_rail is RailStatus.PENDING
        assert await bench.booked("debits", order) == []

    async def test_each_end_of_the_rail_s_own_stands_as_it_should(self, bench):
        assert bench.ends
        for reason, status_at_rail in bench.ends.items():
            order = bench.order()
            await bench.script({"on": "money", "end": reason})
            await bench.send(order)
            answer = await bench.inquire(order)
            assert answer.status_at_rail is status_at_rail, reason
            assert (answer.failure is None) == (status_at_rail is not RailStatus.FAILED), reason
            assert await bench.booked("debits", order) == []

    @pytest.mark.parametrize(
        "fault", ["http_500", "http_503", "http_429", "html_403", "maintenance_200", "drop"]
    )
    async def test_an_inquiry_that_fails_says_nothing(self, bench, fault):
        order = bench.order()
        await bench.send(order)
        # A library may ask twice where a connection broke: both find the fault.
        step = {"on": "inquiry", "answer": fault}
        await bench.script(step, step)
        answer = await bench.inquire(order)
        assert answer.status_at_rail is RailStatus.NO_INFORMATION
        assert answer.failure is None

    @pytest.mark.parametrize("callbacks", ["lost", "duplicate", "early", "late", "forged"])
    async def test_whatever_callbacks_do_the_inquiry_says_what_the_book_says(self, bench, callbacks):
        await bench.faults(callbacks=callbacks)
        for end in ("SUCCESSFUL", "NEVER"):
            order = bench.order(callback_url="http://localhost:1/callback")
            await bench.script({"on": "money", "end": end})
            assert (await bench.send(order)).evidence is Evidence.ACCEPTED
            paid = (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
            assert paid == (end == "SUCCESSFUL") == bool(await bench.booked("debits", order))

    async def test_another_account_is_neither_sent_to_nor_asked(self, bench):
        order = bench.order()
        other = replace(order.account, base_url="http://elsewhere.invalid")
        answer = await bench.send(replace(order, account=other))
        assert (answer.evidence, answer.refused_locally) == (Evidence.NOT_SENT, True)
        assert answer.failure.code is FailureCode.PROVIDER_ACCOUNT_BLOCKED
        assert not answer.failure.reroute
        status = await bench.rail.inquire(other, order.operation, order.reference, timeout_s=5.0)
        assert (status.status_at_rail, status.refused_locally) == (RailStatus.NO_INFORMATION, True)
        assert await bench.booked("prompts", order) == []

    async def test_a_wallet_whose_network_is_not_known_is_refused_here_and_may_go_elsewhere(self, bench):
        if len(bench.rail.capabilities.networks) == 1:
            pytest.skip("the rail has one network and asks for none")
        operations = [one for one in bench.rail.capabilities.operations if one is not Operation.REFUND]
        for operation in operations:
            order = bench.order(operation, network=None, callback_url="http://localhost:1/callback")
            answer = await bench.send(order)
            assert (answer.evidence, answer.refused_locally) == (Evidence.NOT_SENT, True)
            assert (answer.failure.code, answer.failure.reroute) == (FailureCode.INVALID_PAYER, True)
            assert await bench.booked("prompts", order) == []

    @pytest.mark.parametrize("status", [200, 202, 302, 400, 401, 403, 404, 409, 418, 500, 502, 503, 504])
    async def test_a_web_page_is_never_taken_for_the_rail_s_word(self, bench, status):
        page = b"<html><body>The page of somebody on the way</body></html>"
        async with raw_server(answering(status, page, "Content-Type: text/html")) as stranger:
            rail = bench.connector_at(stranger.url)
            order = bench.order(account=rail.account)
            answer = await rail.send(order, timeout_s=5.0)
            assert answer.evidence is not Evidence.ACCEPTED
            asked = await rail.inquire(order.account, order.operation, order.reference, timeout_s=5.0)
            assert asked.status_at_rail is RailStatus.NO_INFORMATION

    async def refund_of(self, bench, collected):
        """An order that returns a debit which the rail has reported."""
        if Operation.REFUND not in bench.rail.capabilities.operations:
            pytest.skip("the rail refunds nothing")
        await bench.send(collected)
        paid = await bench.inquire(collected)
        assert paid.status_at_rail is RailStatus.SUCCEEDED
        return bench.order(
            Operation.REFUND,
            original_reference=collected.reference,
            original_transaction_id=paid.provider_transaction_id,
        )

    async def test_a_refund_returns_the_debit_and_says_so(self, bench):
        refund = await self.refund_of(bench, bench.order())
        assert (await bench.send(refund)).evidence is Evidence.ACCEPTED
        assert [credit["amount"] for credit in await bench.booked("credits", refund)] == [AMOUNT]
        status = await bench.inquire(refund)
        assert (status.status_at_rail, status.amount) in (
            (RailStatus.SUCCEEDED, AMOUNT),
            (RailStatus.SUCCEEDED, None),
        )

    async def test_a_refund_whose_answer_was_lost_is_ambiguous_and_found(self, bench):
        refund = await self.refund_of(bench, bench.order())
        await bench.script({"on": "money", "answer": "drop", "commit": True})
        assert (await bench.send(refund)).evidence is Evidence.AMBIGUOUS
        assert (await bench.inquire(refund)).status_at_rail is RailStatus.SUCCEEDED
        if bench.rail.capabilities.operations[Operation.REFUND].dedup_by_reference:
            assert (await bench.send(refund)).duplicate
        assert len(await bench.booked("credits", refund)) == 1

    async def test_a_refund_of_nothing_is_never_taken(self, bench):
        if Operation.REFUND not in bench.rail.capabilities.operations:
            pytest.skip("the rail refunds nothing")
        order = bench.order(Operation.REFUND)
        assert (await bench.send(order)).evidence.proves_nothing_happened
        assert await bench.booked("credits", order) == []

    def payout_of(self, bench):
        """An order that sends money out."""
        if Operation.PAYOUT not in bench.rail.capabilities.operations:
            pytest.skip("the rail pays nothing out")
        return bench.order(Operation.PAYOUT, name="Ama Mensah", callback_url="http://localhost:1/callback")

    async def test_a_payout_is_credited_once_and_says_so(self, bench):
        payout = self.payout_of(bench)
        assert (await bench.send(payout)).evidence is Evidence.ACCEPTED
        (credit,) = await bench.booked("credits", payout)
        assert (credit["amount"], credit["msisdn"]) == (AMOUNT, bench.payer)
        assert await bench.booked("debits", payout) == []
        status = await bench.inquire(payout)
        assert (status.status_at_rail, status.amount) in (
            (RailStatus.SUCCEEDED, AMOUNT),
            (RailStatus.SUCCEEDED, None),
        )

    async def test_a_payout_whose_answer_was_lost_is_ambiguous_and_found(self, bench):
        payout = self.payout_of(bench)
        await bench.script({"on": "money", "answer": "drop", "commit": True})
        assert (await bench.send(payout)).evidence is Evidence.AMBIGUOUS
        assert (await bench.inquire(payout)).status_at_rail is RailStatus.SUCCEEDED
        if bench.rail.capabilities.operations[Operation.PAYOUT].dedup_by_reference:
            assert (await bench.send(payout)).evidence is Evidence.ACCEPTED
        assert len(await bench.booked("credits", payout)) == 1

    async def test_a_payout_that_was_never_booked_is_neither_paid_nor_failed(self, bench):
        payout = self.payout_of(bench)
        await bench.script({"on": "money", "answer": "drop"})
        assert (await bench.send(payout)).evidence is Evidence.AMBIGUOUS
        status_at_rail = (await bench.inquire(payout)).status_at_rail
        assert status_at_rail in (RailStatus.NOT_FOUND, RailStatus.NO_INFORMATION, RailStatus.PENDING)

    async def test_no_number_and_no_secret_is_printed(self, bench):
        order = bench.order()
        shown = [order, await bench.send(order), await bench.inquire(order), bench.rail, bench.rail.account]
        for value in shown:
            assert bench.payer not in repr(value)
