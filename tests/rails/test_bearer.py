"""Tokens: kept, renewed early, asked for once by many."""

import asyncio

import pytest

from rails.manual_clock import ManualClock
from synccash.payments.failure import Failure, FailureCode
from synccash.rails.bearer import BearerTokens, Granted, NotGranted
from synccash.settings.secret import Secret

AWAY = NotGranted(Failure(FailureCode.PROVIDER_UNAVAILABLE), "token_http_503")


class Office:
    """Hands out tokens by number; `closed` while it hands out none, `slow` while nobody is answered."""

    def __init__(self):
        self.asked = 0
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self, timeout_s):
        self.asked += 1
        number = self.asked
        await self.open.wait()
        return AWAY if self.closed else Granted(Secret(f"token-{number}"), 3600.0)


class Desk:
    def __init__(self):
        self.office = Office()
        self.clock = ManualClock()
        self.held = BearerTokens(self.office.ask, self.clock, renew_before_s=600.0)

    async def text(self):
        return (await self.held.get(5.0)).text.reveal()


@pytest.fixture
def desk():
    return Desk()


async def test_a_token_is_asked_for_once_and_kept(desk):
    assert await desk.text() == "token-1"
    desk.clock.advance(2_999.0)
    assert await desk.text() == "token-1"
    assert desk.office.asked == 1


async def test_a_token_is_renewed_ten_minutes_before_its_end(desk):
    await desk.text()
    desk.clock.advance(3_000.0)
    assert await desk.text() == "token-2"


async def test_many_who_need_a_token_ask_once(desk):
    desk.office.open.clear()
    asking = [asyncio.create_task(desk.text()) for _ in range(20)]
    await asyncio.sleep(0)
    desk.office.open.set()
    assert set(await asyncio.gather(*asking)) == {"token-1"}
    assert desk.office.asked == 1


async def test_many_who_need_a_token_are_refused_once(desk):
    desk.office.closed = True
    desk.office.open.clear()
    asking = [asyncio.create_task(desk.held.get(5.0)) for _ in range(20)]
    await asyncio.sleep(0)
    desk.office.open.set()
    assert await asyncio.gather(*asking) == [AWAY] * 20
    assert desk.office.asked == 1
    desk.office.closed = False
    assert await desk.text() == "token-2"


async def test_while_one_renews_the_others_go_on_with_the_old_one(desk):
    await desk.text()
    desk.clock.advance(3_000.0)
    desk.office.open.clear()
    renewing = asyncio.create_task(desk.text())
    await asyncio.sleep(0)
    assert await desk.text() == "token-1"
    desk.office.open.set()
    assert await renewing == "token-2"


async def test_a_renewal_that_fails_disturbs_nobody_while_the_old_one_is_good(desk):
    await desk.text()
    desk.office.closed = True
    desk.clock.advance(3_000.0)
    assert await desk.text() == "token-1"
    assert await desk.text() == "token-1"
    assert desk.office.asked == 2
    desk.clock.advance(600.0)
    assert await desk.held.get(5.0) == AWAY


async def test_a_discarded_token_is_replaced_once(desk):
    old = await desk.held.get(5.0)
    desk.held.discard(old)
    new = await desk.held.get(5.0)
    desk.held.discard(old)
    assert await desk.held.get(5.0) is new
    assert new.text == Secret("token-2")


async def test_who_cannot_wait_for_another_s_question_gets_none(desk):
    desk.office.open.clear()
    asking = asyncio.create_task(desk.text())
    await asyncio.sleep(0)
    assert await desk.held.get(0.01) is None
    desk.office.open.set()
    assert await asking == "token-1"


async def test_who_gives_up_while_asking_leaves_the_question_to_the_next(desk):
    desk.office.open.clear()
    asking = asyncio.create_task(desk.held.get(5.0))
    waiting = asyncio.create_task(desk.text())
    await asyncio.sleep(0)
    asking.cancel()
    desk.office.open.set()
    assert await waiting == "token-2"


async def test_a_token_is_not_printed(desk):
    assert "token-1" not in repr(await desk.held.get(5.0))
    assert "token-1" not in repr(Granted(Secret("token-1"), 1.0))
