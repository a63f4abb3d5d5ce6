"""Whose turn it is: merchants in rounds, and the oldest of each merchant first."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from synccash.payments.rail import InquiryPriority
from synccash.rails.fair_turns import FairTurns

HINTED, SCHEDULED, AFTER_END = InquiryPriority
merchants = st.sampled_from(["a", "b", "c", "d"])
joins = st.tuples(merchants, st.sampled_from(list(InquiryPriority)), st.integers(0, 5).map(float))
steps = st.lists(st.one_of(joins, st.sampled_from(["serve", "leave"])), max_size=80)


def first_of(turns, waiting):
    return next(caller for caller in waiting if turns.place(caller) == 0)


def served_in_order(turns, waiting):
    waiting, served = list(waiting), []
    while waiting:
        caller = first_of(turns, waiting)
        turns.serve(caller)
        waiting.remove(caller)
        served.append(caller)
    return served


@example([("a", HINTED, 0.0), ("a", HINTED, 0.0), ("b", HINTED, 0.0), "serve", ("b", HINTED, 0.0)])
@given(steps)
def test_places_are_those_of_the_turns_to_come(given_steps):
    turns, waiting = FairTurns(), []
    for step in given_steps:
        if step == "serve" and waiting:
            caller = first_of(turns, waiting)
            turns.serve(caller)
            waiting.remove(caller)
        elif step == "leave" and waiting:
            turns.leave(waiting.pop(len(waiting) // 2))
        elif isinstance(step, tuple):
            waiting.append(turns.join(*step))
    by_place = sorted(waiting, key=turns.place)
    assert [turns.place(caller) for caller in by_place] == list(range(len(waiting)))
    assert served_in_order(turns, waiting) == by_place


@given(steps, merchants)
def test_a_newcomer_waits_for_at_most_one_turn_of_each_other_merchant(given_steps, merchant):
    turns, waiting = FairTurns(), []
    for step in given_steps:
        if step == "serve" and waiting:
            caller = first_of(turns, waiting)
            turns.serve(caller)
            waiting.remove(caller)
        elif isinstance(step, tuple) and step[0] != merchant:
            waiting.append(turns.join(*step))
    others = {caller.merchant_id for caller in waiting if caller.priority is not AFTER_END}
    assert turns.place(turns.join(merchant, SCHEDULED)) <= len(others)


@given(st.integers(0, 40), st.integers(1, 12))
def test_no_flood_of_another_merchant_starves_a_steady_one(before, beside):
    turns = FairTurns()
    waiting = [turns.join("flood", HINTED, number) for number in range(before)]
    for _ in range(20):
        mine = turns.join("steady", SCHEDULED)
        waiting += [mine, *(turns.join("flood", HINTED, 0.0) for _ in range(beside))]
        served = []
        for _ in range(2):
            served.append(first_of(turns, waiting))
            turns.serve(served[-1])
            waiting.remove(served[-1])
        assert mine in served


@given(st.lists(st.tuples(st.sampled_from([HINTED, SCHEDULED]), st.integers(0, 5).map(float)), max_size=30))
def test_a_merchant_alone_gets_all_turns_by_priority_and_age(callers):
    turns = FairTurns()
    waiting = [turns.join("alone", priority, since) for priority, since in callers]
    assert served_in_order(turns, waiting) == sorted(waiting)


@given(st.lists(merchants, max_size=60))
def test_merchants_that_always_wait_get_turns_that_differ_by_one_at_most(names):
    turns, counts = FairTurns(), dict.fromkeys(names, 0)
    waiting = [turns.join(name, HINTED) for name in sorted(set(names)) for _ in range(40)]
    for _ in range(35):
        if not waiting:
            return
        caller = first_of(turns, waiting)
        turns.serve(caller)
        waiting.remove(caller)
        counts[caller.merchant_id] += 1
    assert max(counts.values()) - min(counts.values()) <= 1


def test_rechecks_come_after_whatever_another_merchant_waits_for():
    turns = FairTurns()
    recheck, other = turns.join("a", AFTER_END), turns.join("b", SCHEDULED)
    assert served_in_order(turns, [recheck, other]) == [other, recheck]


def test_a_merchant_that_leaves_and_comes_back_gains_no_turn():
    turns = FairTurns()
    patient = [turns.join("patient", HINTED) for _ in range(5)]
    served = []
    for _ in range(6):
        again = turns.join("again", HINTED)
        caller = first_of(turns, [*patient, again])
        turns.serve(caller)
        served.append(caller.merchant_id)
        if caller in patient:
            patient.remove(caller)
            turns.leave(again)
    assert all(one != other for one, other in pairwise(served))


def test_merchants_are_forgotten_once_nobody_waits():
    turns = FairTurns()
    for number in range(100):
        turns.serve(turns.join(f"m_{number}", HINTED))
    assert turns.merchants_beside("m_0") == 0
    assert not turns._lines
