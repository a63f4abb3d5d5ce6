"""Concurrent commits share transactions and do not affect each other's results."""

import asyncio
from dataclasses import replace

from order_store_contract import commit, opening
from stores.postgres_world import PostgresWorld
from synccash.payments.case import AlreadyClaimed, Opened, ReferenceTaken

MANY = 40
TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM payments"


async def test_concurrent_openings_share_a_few_transactions(world: PostgresWorld) -> None:
    answers = await asyncio.gather(
        *(world.order_store.open(opening(world, number)) for number in range(MANY))
    )
    assert all(isinstance(answer, Opened) for answer in answers)
    assert await world.value("SELECT count(*) FROM payments") == MANY
    assert await world.value(TRANSACTIONS) < MANY / 4


async def test_an_invalid_opening_does_not_fail_the_others_in_its_batch(world: PostgresWorld) -> None:
    first = opening(world, 0, reference="the same")
    assert isinstance(await world.order_store.open(first), Opened)
    others = [opening(world, number) for number in range(1, MANY)]
    rival = opening(world, MANY, reference="the same")
    *fine, refused = await asyncio.gather(*map(world.order_store.open, (*others, rival)))
    assert all(isinstance(answer, Opened) for answer in fine)
    assert refused == ReferenceTaken(first.order.id)
    assert await world.order_store.claimed(rival.claim.scope, rival.claim.key) is None


async def test_one_key_many_times_in_one_batch_opens_one_payment(world: PostgresWorld) -> None:
    asked = [opening(world, number, key="one key") for number in range(MANY)]
    answers = await asyncio.gather(*map(world.order_store.open, asked))
    opened = [answer for answer in answers if isinstance(answer, Opened)]
    assert len(opened) == 1
    told = {answer.order_id for answer in answers if isinstance(answer, AlreadyClaimed)}
    assert told == {opened[0].case.order.id}


async def test_of_several_commits_of_one_payment_in_a_batch_one_is_written(world: PostgresWorld) -> None:
    opened = await world.order_store.open(opening(world))
    assert isinstance(opened, Opened)
    rivals = [replace(commit(opened.case), id=f"mv_{number}") for number in range(MANY)]
    written = await asyncio.gather(*map(world.order_store.record, rivals))
    assert written.count(True) == 1


async def test_commits_of_many_payments_share_a_few_transactions(world: PostgresWorld) -> None:
    answers = await asyncio.gather(
        *(world.order_store.open(opening(world, number)) for number in range(MANY))
    )
    cases = [answer.case for answer in answers if isinstance(answer, Opened)]
    assert await asyncio.gather(*(world.order_store.record(commit(case)) for case in cases)) == [True] * MANY
    assert await world.value(TRANSACTIONS) < MANY / 4
