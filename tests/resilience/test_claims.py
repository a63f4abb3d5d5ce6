"""Claims: one holder at a time, one answer for ever, and nothing that a sleeper can still complete."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from synccash.resilience import claims
from synccash.resilience.claims import Answer, ClaimState, Granted, InProgress, Replayed, Reused
from synccash.resilience.memory_claims import MemoryClaims

ONE, TWO = b"1" * 33, b"2" * 33
ANSWER = Answer(201, (("content-type", "application/json"),), b"{}")
LEASE_S = 10.0


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryClaims(retention_s=60.0, most=3, clock=clock)


async def asked(store, fingerprint=ONE, key="k", scope="s"):
    return await store.claim(scope, key, fingerprint, lease_s=LEASE_S)


async def test_the_first_request_holds_the_key_and_the_next_waits(store, clock):
    assert await asked(store) == Granted(1, taken_over=False)
    clock.now += 4
    assert await asked(store) == InProgress(6.0)


async def test_a_completed_request_is_replayed_for_ever(store, clock):
    await asked(store)
    assert await store.complete("s", "k", 1, ANSWER)
    clock.now += 50
    assert await asked(store) == Replayed(ANSWER)


async def test_another_payload_under_a_used_key_is_refused_while_it_runs_and_afterwards(store):
    await asked(store)
    assert await asked(store, TWO) == Reused()
    await store.complete("s", "k", 1, ANSWER)
    assert await asked(store, TWO) == Reused()


async def test_the_same_key_in_another_scope_is_another_key(store):
    await asked(store)
    assert await asked(store, TWO, scope="t") == Granted(1, taken_over=False)


async def test_an_expired_lease_is_taken_over_and_its_sleeper_completes_nothing(store, clock):
    await asked(store)
    clock.now += LEASE_S
    assert await asked(store) == Granted(2, taken_over=True)
    assert not await store.complete("s", "k", 1, ANSWER)
    assert not await store.give_back("s", "k", 1)
    assert not await store.renew("s", "k", 1, lease_s=LEASE_S)
    assert await store.complete("s", "k", 2, ANSWER)


async def test_a_lease_that_ran_out_unnoticed_still_completes(store, clock):
    await asked(store)
    clock.now += 3 * LEASE_S
    assert await store.complete("s", "k", 1, ANSWER)


async def test_a_renewed_lease_is_not_taken_over(store, clock):
    await asked(store)
    clock.now += 9
    assert await store.renew("s", "k", 1, lease_s=LEASE_S)
    clock.now += 9
    assert await asked(store) == InProgress(1.0)


async def test_what_was_given_back_may_be_tried_again_at_once(store):
    await asked(store)
    assert await store.give_back("s", "k", 1)
    assert await asked(store) == Granted(2, taken_over=True)


async def test_an_answer_is_kept_for_its_retention_and_a_holder_at_work_is_never_forgotten(store, clock):
    await asked(store)
    await store.complete("s", "k", 1, ANSWER)
    clock.now += 60
    assert await asked(store) == Granted(1, taken_over=False)
    clock.now += 55
    assert await store.renew("s", "k", 1, lease_s=LEASE_S) is True
    clock.now += 6
    assert isinstance(await asked(store), InProgress)


async def test_a_full_store_refuses_new_keys_and_forgets_none(store):
    for key in "abc":
        await asked(store, key=key)
    with pytest.raises(MemoryError):
        await asked(store, key="d")
    assert isinstance(await asked(store, key="a"), InProgress)


class Claims(RuleBasedStateMachine):
    """Holders that sleep, die, wake and complete, against one record."""

    def __init__(self):
        super().__init__()
        self.record = None
        self.now = 0.0
        self.holders = set()
        self.answers = set()

    @rule(fingerprint=st.sampled_from([ONE, TWO]))
    def ask(self, fingerprint):
        before = self.record
        decision, after = claims.claim(before, fingerprint, now=self.now, lease_s=LEASE_S)
        if isinstance(decision, Granted):
            assert decision.fence not in self.holders, "a fence is given once"
            assert decision.taken_over == bool(self.holders)
            assert not self.answers, "nobody works on what is answered"
            self.holders.add(decision.fence)
        else:
            assert after is None
        if isinstance(decision, Replayed):
            assert {decision.answer} == self.answers
            assert before.fingerprint == fingerprint
        self.record = after or before

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.9, 10.0, 100.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(data=st.data())
    def complete(self, data):
        if not self.holders:
            return
        fence = data.draw(st.sampled_from(sorted(self.holders)))
        answer = Answer(200, (), str(fence).encode())
        after = claims.complete(self.record, fence, answer)
        if after is not None:
            assert fence == max(self.holders), "only the last holder completes"
            self.answers.add(answer)
            self.record = after

    @rule(data=st.data())
    def give_back(self, data):
        if not self.holders:
            return
        fence = data.draw(st.sampled_from(sorted(self.holders)))
        after = claims.give_back(self.record, fence)
        self.record = after or self.record

    @invariant()
    def there_is_one_answer_at_most(self):
        assert len(self.answers) <= 1
        if self.answers:
            assert self.record.state is ClaimState.COMPLETED


TestClaims = Claims.TestCase
TestClaims.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_of_two_workers_in_any_order_of_steps_with_any_pause_one_answer_is_kept():
    """Every interleaving of two workers that claim and complete, the lease running out anywhere between."""

    seen = set()

    def walk(record, workers, now, answers):
        state = (record, workers, now, answers)
        if state in seen:
            return
        seen.add(state)
        assert len(answers) <= 1
        if now < 3:
            walk(record, workers, now + 1, answers)
        for number, (step, fence) in enumerate(workers):
            moved = list(workers)
            if step == "idle":
                decision, after = claims.claim(record, ONE, now=float(now), lease_s=1.0)
                moved[number] = ("holds", decision.fence) if isinstance(decision, Granted) else ("told", 0)
                walk(after or record, tuple(moved), now, answers)
            elif step == "holds":
                answer = Answer(200, (), f"{number}".encode())
                after = claims.complete(record, fence, answer)
                moved[number] = ("told", 0)
                kept = answers if after is None else answers | {answer}
                walk(after or record, tuple(moved), now, kept)

    walk(None, (("idle", 0), ("idle", 0)), 0, frozenset())
    assert len(seen) > 30
    assert any(len(answers) == 1 for *_, answers in seen)
