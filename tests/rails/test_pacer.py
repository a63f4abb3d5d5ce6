"""Turns to inquire: under the rate, shared by processes, in the order of their priority."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rails.manual_clock import ManualClock
from synccash.payments.rail import InquiryPriority
from synccash.rails.pacer import Pacer, Turn

HINTED, SCHEDULED, AFTER_END = InquiryPriority
STEP_S = 0.005


class Scene:
    """A pacer, a clock that the test moves, and what became of each caller, in order: (who, when, what)."""

    def __init__(self, per_s=10.0, processes=1):
        self.clock = ManualClock()
        self.processes = processes
        self.pacer = Pacer(per_s, self.clock, lambda: self.processes)
        self.told = []
        self.tasks = []

    def come(self, who, priority=SCHEDULED, *, timeout_s=60.0, merchant="m_1", since=0.0):
        async def take():
            turn = await self.pacer.turn(
                timeout_s=timeout_s, priority=priority, merchant_id=merchant, since=since
            )
            self.told.append((who, self.clock.time, turn))

        self.tasks.append(asyncio.create_task(take()))

    async def pass_by(self, seconds):
        for _ in range(round(seconds / STEP_S)):
            await settled()
            self.clock.advance(STEP_S)
        await settled()

    @property
    def granted(self):
        return [who for who, _, turn in self.told if turn is Turn.GRANTED]

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def settled():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_the_first_turn_is_free_and_the_next_keep_their_distance():
    scene = Scene()
    for who in range(3):
        scene.come(who)
    await settled()
    assert scene.clock.slept == pytest.approx([0.105, 0.21])
    await scene.pass_by(1.0)
    assert scene.granted == [0, 1, 2]


async def test_a_turn_that_would_come_too_late_is_refused_at_once_and_not_used_up():
    clock = ManualClock()
    pacer = Pacer(1.0, clock)
    assert await pacer.turn(timeout_s=0.0) is Turn.GRANTED
    assert await pacer.turn(timeout_s=0.5) is Turn.TOO_LATE
    clock.advance(1.05)
    assert await pacer.turn(timeout_s=0.0) is Turn.GRANTED
    assert clock.slept == []


async def test_what_a_callback_asks_for_goes_before_what_was_due():
    scene = Scene()
    for who in ("free", "due 1", "due 2"):
        scene.come(who)
    await settled()
    scene.come("hinted", HINTED)
    await scene.pass_by(1.0)
    assert scene.granted == ["free", "hinted", "due 1", "due 2"]


async def test_who_is_passed_by_others_and_comes_too_late_then_is_told_so():
    scene = Scene()
    scene.come("free")
    await settled()
    scene.come("due", timeout_s=0.2)
    await settled()
    scene.come("hinted 1", HINTED)
    scene.come("hinted 2", HINTED)
    await scene.pass_by(1.0)
    assert scene.granted == ["free", "hinted 1", "hinted 2"]
    (late,) = [(when, turn) for who, when, turn in scene.told if who == "due"]
    assert late[1] is Turn.TOO_LATE
    assert late[0] <= 1_000.0 + 0.2 + STEP_S


async def test_a_caller_who_gives_up_leaves_his_turn_to_the_next():
    scene = Scene()
    for who in range(3):
        scene.come(who)
    await settled()
    scene.tasks[1].cancel()
    await scene.pass_by(1.0)
    assert scene.granted == [0, 2]


async def test_a_recheck_takes_one_turn_in_five_at_most_and_is_counted_when_it_gets_none():
    scene = Scene()
    for who in range(200):
        scene.come(who, AFTER_END)
        await scene.pass_by(0.05)
    granted = len(scene.granted)
    assert granted == pytest.approx(10.0 / 1.05 / 5 * 10.0, abs=1)
    assert scene.pacer.shed == 200 - granted


@pytest.mark.parametrize("other", [HINTED, SCHEDULED])
async def test_a_recheck_gives_way_to_whoever_waits(other):
    scene = Scene()
    scene.come("free")
    await settled()
    scene.come("other", other)
    scene.come("back", AFTER_END)
    await settled()
    assert scene.told[1:] == [("back", 1_000.0, Turn.SHED)]
    await scene.pass_by(0.5)
    scene.come("back again", AFTER_END)
    await settled()
    assert scene.granted == ["free", "other", "back again"]


async def test_each_of_several_processes_takes_its_share_as_they_come_and_go():
    scene = Scene(per_s=10.0, processes=5)
    for who in range(40):
        scene.come(who, merchant=f"m_{who}")
    await scene.pass_by(3.0)
    assert len(scene.granted) == 1 + int(3.0 * 2 / 1.05)
    scene.processes = 1
    await scene.pass_by(1.0)
    before = len(scene.granted)
    await scene.pass_by(2.0)
    assert len(scene.granted) - before == pytest.approx(2.0 * 10 / 1.05, abs=2)
    await scene.end()


arrivals = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.5]),
        st.sampled_from([HINTED, SCHEDULED, AFTER_END]),
        st.sampled_from([0.0, 0.3, 5.0, 60.0]),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(arrivals, st.sampled_from([2.0, 10.0]), st.integers(1, 3))
def test_whoever_comes_the_rate_holds_and_nobody_waits_past_his_time(comers, per_s, processes):
    asyncio.run(all_that_holds(comers, per_s, processes))


async def all_that_holds(comers, per_s, processes):
    scene = Scene(per_s, processes)
    came = {}
    for who, (wait_s, priority, timeout_s) in enumerate(comers):
        await scene.pass_by(wait_s)
        came[who] = (scene.clock.time, priority, timeout_s)
        scene.come(who, priority, timeout_s=timeout_s)
    await settled()
    await scene.pass_by(10.0)
    await scene.end()
    rate = per_s / processes
    taken = [(when, came[who][1]) for who, when, turn in scene.told if turn is Turn.GRANTED]
    for begin, _ in taken:
        within = [priority for when, priority in taken if begin <= when < begin + 5.0]
        # The window begins with a turn, which comes on top of those that its length allows.
        assert len(within) <= 1 + 5.0 * rate
        assert within.count(AFTER_END) <= max(1.0, 5.0 * rate / 5)
    for who, when, turn in scene.told:
        came_at, priority, timeout_s = came[who]
        assert when <= came_at + timeout_s + STEP_S
        assert turn is not Turn.SHED or priority is AFTER_END
    shed = sum(turn is Turn.SHED for _, _, turn in scene.told)
    assert scene.pacer.shed == shed
    ordered = [who for who, _, turn in scene.told if turn is Turn.GRANTED]
    for priority in (HINTED, SCHEDULED):
        same = [who for who in ordered if came[who][1] is priority]
        assert same == sorted(same), "first come, first served"


async def test_a_busy_process_that_wakes_every_caller_late_keeps_the_rate():
    scene = Scene(per_s=1_000.0)
    for who in range(400):
        scene.come(who, timeout_s=5.0)
    for _ in range(30):
        await settled()
        await settled()
        scene.clock.advance(0.02)
    await settled()
    # A round of the event loop takes 20 ms: one turn in each would be 30.
    assert len(scene.granted) == 400
    await scene.end()


async def test_a_process_that_slept_for_long_does_not_make_up_for_all_of_it():
    scene = Scene(per_s=100.0)
    for who in range(40):
        scene.come(who)
    await settled()
    scene.clock.advance(0.3)
    for _ in range(20):
        await settled()
    assert len(scene.granted) <= 1 + 1 + int(0.04 * 100 / 1.05)
    await scene.end()


async def test_a_merchant_that_floods_a_rail_leaves_every_other_merchant_its_turns():
    scene = Scene(per_s=10.0)
    for tick in range(100):
        for flood in range(3):
            scene.come(("flood", tick, flood), HINTED, merchant="flood", timeout_s=5.0)
        if tick % 3 == 0:
            scene.come(("steady", tick, 0), merchant="steady", timeout_s=5.0)
        await scene.pass_by(0.1)
    await scene.pass_by(1.0)
    granted = [who[0] for who in scene.granted]
    # 30 inquiries a second compete with 3.3 for 9.5 turns.
    assert granted.count("steady") == 34
    assert granted.count("flood") >= 60
    await scene.end()


async def test_so_many_of_a_merchant_wait_as_turns_fit_into_a_second_and_the_oldest_stay():
    scene = Scene(per_s=20.0)
    for who in range(40):
        scene.come(who, since=float(40 - who))
    await settled()
    await scene.pass_by(1.1)
    assert scene.granted[1:11] == list(range(39, 29, -1))
    late = [who for who, _, turn in scene.told if turn is Turn.TOO_LATE]
    assert len(late) == 40 - 1 - 20
    await scene.end()


def test_those_that_are_sent_away_come_back_at_the_pace_of_the_rail():
    pacer = Pacer(10.0, ManualClock())
    again = [pacer.again_in_s("m_1") for _ in range(2_000)]
    assert again[:3] == pytest.approx([0.605, 0.71, 0.815])
    assert pacer.again_in_s("m_2") == pytest.approx(0.605)
    assert again[-1] == 60.0
