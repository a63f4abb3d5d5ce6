"""The conformance suite of claim stores passes for the store in memory, and fails for wrong ones."""

from contextlib import asynccontextmanager

import pytest

from synccash.resilience.claims import ClaimAnswer, Granted, InProgress, Replayed
from synccash.resilience.conformance import ClaimStoreConformance
from synccash.resilience.memory_claims import MemoryClaims


class TestMemoryClaims(ClaimStoreConformance):
    @asynccontextmanager
    async def open(self):
        yield MemoryClaims()


class TestMemoryClaimsThatStay(ClaimStoreConformance):
    durable = True
    kept = MemoryClaims()

    @asynccontextmanager
    async def open(self):
        yield self.kept


class WithoutFence(MemoryClaims):
    async def complete(self, scope, key, fence, answer):
        return await super().complete(scope, key, self._records[scope, key].fence, answer)


class KeyOnly(MemoryClaims):
    async def claim(self, scope, key, fingerprint, *, lease_s):
        return await super().claim("", scope + key, fingerprint, lease_s=lease_s)


class GrantsTwice(MemoryClaims):
    async def claim(self, scope, key, fingerprint, *, lease_s):
        decision = await super().claim(scope, key, fingerprint, lease_s=lease_s)
        return Granted(1, taken_over=False) if isinstance(decision, InProgress) else decision


class AnswersAsText(MemoryClaims):
    async def claim(self, scope, key, fingerprint, *, lease_s):
        decision = await super().claim(scope, key, fingerprint, lease_s=lease_s)
        if not isinstance(decision, Replayed) or decision.answer.body is None:
            return decision
        body = decision.answer.body.decode(errors="replace").encode()
        return Replayed(ClaimAnswer(decision.answer.status, decision.answer.headers, body))


class ForgetsTheTakeover(MemoryClaims):
    async def claim(self, scope, key, fingerprint, *, lease_s):
        decision = await super().claim(scope, key, fingerprint, lease_s=lease_s)
        return Granted(decision.fence, taken_over=False) if isinstance(decision, Granted) else decision


@pytest.mark.parametrize(
    ("store", "test", "message"),
    [
        (WithoutFence, "test_after_a_takeover_the_former_holder_changes_nothing", "must get False"),
        (KeyOnly, "test_keys_and_scopes_are_apart", "free key"),
        (GrantsTwice, "test_of_twenty_requests_at_once_one_is_granted", "not 20"),
        (AnswersAsText, "test_a_completed_claim_replays_its_answer", "a repeat must get"),
        (ForgetsTheTakeover, "test_after_a_takeover_the_former_holder_changes_nothing", "taken_over"),
    ],
)
def test_the_suite_fails_for_a_wrong_store(store, test, message):
    class Wrong(ClaimStoreConformance):
        @asynccontextmanager
        async def open(self):
            yield store()

    with pytest.raises(AssertionError, match=message):
        getattr(Wrong(), test)()


def test_the_suite_fails_for_a_store_that_forgets_and_calls_itself_durable():
    class Forgetful(TestMemoryClaims):
        durable = True

    with pytest.raises(AssertionError, match="must be replayed"):
        Forgetful().test_a_durable_store_keeps_claims_and_answers()


def test_without_a_store_the_suite_says_what_to_write():
    with pytest.raises(AssertionError, match=r"override open\(\)"):
        ClaimStoreConformance().open()
