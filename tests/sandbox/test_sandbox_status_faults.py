"""Faults that make a rail's records contradict the request, or each other."""

from uuid import uuid4

import pytest


@pytest.fixture
def reference():
    return str(uuid4())


async def test_another_amount_is_named_and_booked(world, merchant, reference):
    await world.faults(other_amount_rate=1.0)
    await merchant.collect(reference=reference)
    answer = (await merchant.status(reference)).body
    assert (answer["status"], answer["amount"]) == ("SUCCESSFUL", "26.00")
    book = await world.book()
    assert [debit["amount"] for debit in book["debits"]] == [2600]
    assert book["faults"] == {"other_amount": 1}


async def test_another_currency_is_named_each_time(world, merchant, reference):
    await world.faults(other_currency_rate=1.0)
    await merchant.collect(reference=reference)
    assert [(await merchant.status(reference)).body["currency"] for _ in range(2)] == ["NGN", "NGN"]
    assert (await world.book())["faults"] == {"other_currency": 2}


async def test_another_reference_is_named_three_times_across_a_restart(world, merchant, reference):
    await world.faults(other_reference_rate=1.0)
    await merchant.collect(reference=reference)
    named = [(await merchant.status(reference)).body["externalId"] for _ in range(2)]
    await world.sleep_through(0)
    named += [(await merchant.status(reference)).body["externalId"] for _ in range(2)]
    assert [name == "order-1" for name in named] == [False, False, False, True]
    assert (await world.book())["faults"] == {"other_reference": 3}


async def test_what_was_found_pending_is_not_found_three_times(world, merchant, reference):
    await world.faults(not_found_after_found_rate=1.0, approve_after_ms=60_000)
    await merchant.collect(reference=reference)
    statuses = [(await merchant.status(reference)).status for _ in range(5)]
    assert statuses == [200, 404, 404, 404, 200]
    assert (await world.book())["faults"] == {"not_found_after_found": 3}


async def test_money_moves_after_a_failure_without_a_callback(world, merchant, ear, reference):
    await world.faults(failed_then_success_rate=1.0, late_success_after_ms=60_000)
    await merchant.collect(reference=reference, callback=ear.url)
    assert (await ear.next())["body"]["status"] == "FAILED"
    assert (await merchant.status(reference)).body["status"] == "FAILED"
    assert (await world.book())["debits"] == []
    await world.sleep_through(61)
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"
    book = await world.book()
    assert [debit["reference"] for debit in book["debits"]] == [reference]
    assert book["faults"] == {"failed_then_success": 1}
    assert len(ear.history) == 1


async def test_a_failure_is_reported_of_a_charge_that_still_waits(world, merchant, ear, reference):
    await world.faults(callback_failure_rate=1.0, approve_after_ms=60_000)
    await merchant.collect(reference=reference, callback=ear.url)
    assert (await ear.next())["body"]["status"] == "FAILED"
    assert (await merchant.status(reference)).body["status"] == "PENDING"
    assert (await world.book())["faults"] == {"callback_failure": 1}
