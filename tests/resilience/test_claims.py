"""Idempotency claims have one holder at a time and one answer, and a former holder cannot complete them."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from synccash.resilience import claims
from synccash.resilience.claims import ClaimAnswer, ClaimState, Granted, InProgress, Replayed, Reused
from synccash.resilience.memory_claims import MemoryClaims

ONE, TWO = b"1" * 33, b"2" * 33
ANSWER = ClaimAnswer(201, (("content-type", "application/json"),), b"{}")
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


async def claim_key(store, fingerprint=ONE, key="k", scope="s"):
    return await store.claim(scope, key, fingerprint, lease_s=LEASE_S)


async def test_the_first_request_gets_the_claim_and_the_next_is_told_to_wait(store, clock):
    assert await claim_key(store) == Granted(1, taken_over=False)
    clock.now += 4
    assert await claim_key(store) == InProgress(6.0)


async def test_a_completed_claim_replays_its_answer(store, clock):
    await claim_key(store)
    assert await store.complete("s", "k", 1, ANSWER)
    clock.now += 50
    assert await claim_key(store) == Replayed(ANSWER)


async def test_a_used_key_with_another_payload_is_refused_before_and_after_completion(store):
    await claim_key(store)
    assert await claim_key(store, TWO) == Reused()
    await store.complete("s", "k", 1, ANSWER)
    assert await claim_key(store, TWO) == Reused()


async def test_the_same_key_in_another_scope_is_another_key(store):
    await claim_key(store)
    assert await claim_key(store, TWO, scope="t") == Granted(1, taken_over=False)


async def test_after_a_takeover_the_former_holder_cannot_complete_the_claim(store, clock):
    await claim_key(store)
    clock.now += LEASE_S
    assert await claim_key(store) == Granted(2, taken_over=True)
    assert not await store.complete("s", "k", 1, ANSWER)
    assert not await store.give_back("s", "k", 1)
    assert not await store.renew("s", "k", 1, lease_s=LEASE_S)
    assert await store.complete("s", "k", 2, ANSWER)


async def test_an_expired_lease_without_a_takeover_can_still_be_completed(store, clock):
    await claim_key(store)
    clock.now += 3 * LEASE_S
    assert await store.complete("s", "k", 1, ANSWER)


async def test_a_renewed_lease_is_not_taken_over(store, clock):
    await claim_key(store)
    clock.now += 9
    assert await store.renew("s", "k", 1, lease_s=LEASE_S)
    clock.now += 9
    assert await claim_key(store) == InProgress(1.0)


async def test_a_claim_that_was_given_back_is_granted_again_at_once(store):
    await claim_key(store)
    assert await store.give_back("s", "k", 1)
    assert await claim_key(store) == Granted(2, taken_over=True, given_back=True)


async def test_answers_expire_after_the_retention_but_claims_under_a_lease_do_not(store, clock):
    await claim_key(store)
    await store.complete("s", "k", 1, ANSWER)
    clock.now += 60
    assert await claim_key(store) == Granted(1, taken_over=False)
    clock.now += 55
    assert await store.renew("s", "k", 1, lease_s=LEASE_S) is True
    clock.now += 6
    assert isinstance(await claim_key(store), InProgress)


async def test_a_full_store_refuses_new_keys_and_drops_none(store):
    for key in "abc":
        await claim_key(store, key=key)
    with pytest.raises(MemoryError):
        await claim_key(store, key="d")
    assert isinstance(await claim_key(store, key="a"), InProgress)


class ClaimMachine(RuleBasedStateMachine):
    """Requests that claim, complete and give back one record in any order, while leases expire."""

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
            assert decision.fence not in self.holders, "each fence number is used once"
            assert decision.taken_over == bool(self.holders)
            assert not self.answers, "a completed claim is never granted again"
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
        answer = ClaimAnswer(200, (), str(fence).encode())
        after = claims.complete(self.record, fence, answer)
        if after is not None:
            assert fence == max(self.holders), "only the latest holder can complete"
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
    def at_most_one_answer_is_stored(self):
        assert len(self.answers) <= 1
        if self.answers:
            assert self.record.state is ClaimState.COMPLETED


TestClaims = ClaimMachine.TestCase
TestClaims.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_two_workers_in_any_order_store_at_most_one_answer():
    """Walks through every interleaving of two workers that claim and complete, with the lease expiring at any
    point.
    """
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
            next_workers = list(workers)
            if step == "idle":
                decision, after = claims.claim(record, ONE, now=float(now), lease_s=1.0)
                next_workers[number] = (
                    ("holds", decision.fence) if isinstance(decision, Granted) else ("done", 0)
                )
                walk(after or record, tuple(next_workers), now, answers)
            elif step == "holds":
                answer = ClaimAnswer(200, (), f"{number}".encode())
                after = claims.complete(record, fence, answer)
                next_workers[number] = ("done", 0)
                stored = answers if after is None else answers | {answer}
                walk(after or record, tuple(next_workers), now, stored)

    walk(None, (("idle", 0), ("idle", 0)), 0, frozenset())
    assert len(seen) > 30
    assert any(len(answers) == 1 for *_, answers in seen)
