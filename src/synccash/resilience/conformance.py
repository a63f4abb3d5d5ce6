"""pytest suites for any circuit breaker and any store of idempotency claims: subclass one of them.

class TestMyBreaker(BreakerConformance):
    def make(self, *, failures, open_s, hold_s, clock): return MyAdapter(…)

class TestMyClaims(ClaimStoreConformance):
    @asynccontextmanager
    async def open(self): yield MyClaims(…)
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import uuid4

from synccash.resilience.claims import (
    ClaimAnswer,
    ClaimDecision,
    ClaimStore,
    Granted,
    InProgress,
    Replayed,
    Reused,
)
from synccash.resilience.testing import FakeClock

_FAILURES, _OPEN_S, _HOLD_S = 3, 30.0, 10.0


class BreakerUnderTest(Protocol):
    """Adapter through which the suite uses a breaker."""

    def admit(self) -> Any | None:
        """Return a permit for one call, which is not None; None when the breaker refuses the call."""
        ...

    def succeed(self, ticket: Any) -> None:
        """Record a success of the call that has this permit."""
        ...

    def fail(self, ticket: Any) -> None:
        """Record a failure of the call that has this permit."""
        ...

    def cancel(self, ticket: Any) -> None:
        """Give the permit back: the call was cancelled before it ended."""
        ...


class BreakerConformance:
    """Tests that every circuit breaker should pass. pytest collects subclasses, not this class itself."""

    def make(
        self, *, failures: int, open_s: float, hold_s: float, clock: Callable[[], float]
    ) -> BreakerUnderTest:
        """Return a closed breaker that opens for `open_s` seconds after `failures` failures in a row.

        Half-open, it allows one probe at a time and gives a probe up after `hold_s` seconds.
        """
        settings = (failures, open_s, hold_s, clock)
        raise AssertionError(f"override make() and return an adapter of your breaker with {settings}")

    def _new_breaker(self) -> tuple[BreakerUnderTest, FakeClock]:
        clock = FakeClock()
        return self.make(failures=_FAILURES, open_s=_OPEN_S, hold_s=_HOLD_S, clock=clock), clock

    def _opened_breaker(self, *, late: int = 0) -> tuple[BreakerUnderTest, FakeClock, list[Any]]:
        breaker, clock = self._new_breaker()
        early = [breaker.admit() for _ in range(late)]
        for _ in range(_FAILURES):
            breaker.fail(breaker.admit())
        _expect(breaker.admit() is None, f"{_FAILURES} failures in a row must open the breaker")
        return breaker, clock, early

    def test_it_opens_and_one_good_probe_closes_it(self) -> None:
        """Failures in a row open the breaker; after its open time, one successful probe closes it."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        breaker.succeed(breaker.admit())
        _expect(all(breaker.admit() is not None for _ in range(10)), "a successful probe must close it")

    def test_of_fifty_callers_together_one_probes(self) -> None:
        """A dependency that has just recovered gets one probe, not every waiting call."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        passed = sum(breaker.admit() is not None for _ in range(50))
        _expect(passed == 1, f"exactly 1 of 50 calls must get a permit, not {passed}")

    def test_a_failed_probe_opens_it_again(self) -> None:
        """One failed probe opens the breaker again."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        breaker.fail(breaker.admit())
        _expect(breaker.admit() is None, "a failed probe must open the breaker")

    def test_a_cancelled_probe_gives_its_place_back_and_proves_nothing(self) -> None:
        """A cancelled probe is neither a success nor a failure, and frees its slot for another probe."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        breaker.cancel(breaker.admit())
        passed = sum(breaker.admit() is not None for _ in range(10))
        _expect(passed == 1, f"after a cancelled probe exactly 1 call must get a permit, not {passed}")

    def test_a_hung_probe_is_given_up_after_its_hold(self) -> None:
        """A probe that never ends keeps the breaker half-open only for `hold_s` seconds."""
        breaker, clock, _ = self._opened_breaker()
        clock.move(_OPEN_S * 1.2)
        hung = breaker.admit()
        clock.move(_HOLD_S)
        _expect(breaker.admit() is not None, "after hold_s another probe must get a permit")
        breaker.succeed(hung)
        _expect(breaker.admit() is None, "the late success of a hung probe must not close the breaker")

    def test_ten_cancelled_calls_open_nothing(self) -> None:
        """Cancelled calls do not count as failures."""
        breaker, _ = self._new_breaker()
        for _ in range(10):
            breaker.cancel(breaker.admit())
        _expect(breaker.admit() is not None, "cancelled calls must leave the breaker closed")

    def test_a_late_success_closes_neither_an_open_nor_a_half_open_one(self) -> None:
        """A success of a call that started before the breaker opened does not close it."""
        breaker, clock, (early, later) = self._opened_breaker(late=2)
        breaker.succeed(early)
        _expect(breaker.admit() is None, "a late success must leave the breaker open")
        clock.move(_OPEN_S * 1.2)
        _expect(breaker.admit() is not None, "after its open time the breaker must allow a probe")
        breaker.succeed(later)
        _expect(breaker.admit() is None, "a late success must leave it half-open, with its probe running")

    def test_late_failures_of_a_former_era_do_not_open_it_again(self) -> None:
        """A failure of a call that started before the breaker opened does not open it after its recovery."""
        breaker, clock, late = self._opened_breaker(late=10)
        clock.move(_OPEN_S * 1.2)
        breaker.succeed(breaker.admit())
        for permit in late:
            breaker.fail(permit)
        _expect(breaker.admit() is not None, "late failures must leave the recovered breaker closed")


_LEASE_S = 60.0
_ORDER, _OTHER_ORDER = b"1" * 33, b"2" * 33
_ANSWER = ClaimAnswer(
    201, (("content-type", "application/json"), ("set-cookie", "a=1"), ("set-cookie", "b=2")), b'{"id": 7}'
)
_OTHER_ANSWER = ClaimAnswer(409, (), b"another one")


class _Scope:
    """One scope of a store, which no other test uses."""

    def __init__(self, store: ClaimStore, name: str = "") -> None:
        self._store = store
        self.name = name or f"conformance-{uuid4().hex}"

    async def claim(
        self,
        key: str = "key",
        fingerprint: bytes = _ORDER,
        *,
        lease_s: float = _LEASE_S,
        scope: str | None = None,
    ) -> ClaimDecision:
        return await self._store.claim(scope or self.name, key, fingerprint, lease_s=lease_s)

    async def hold(self, key: str = "key", *, scope: str | None = None) -> int:
        """Claim a key that is free, and return the fence."""
        decision = await self.claim(key, scope=scope)
        _expect(isinstance(decision, Granted), f"a request for a free key must be granted, not {decision}")
        assert isinstance(decision, Granted)  # noqa: S101 - for the type checker
        return decision.fence

    async def renew(self, fence: int, *, lease_s: float = _LEASE_S) -> bool:
        return await self._store.renew(self.name, "key", fence, lease_s=lease_s)

    async def expire(self, fence: int) -> None:
        """End the lease at once, as if its time had passed."""
        _expect(
            await self.renew(fence, lease_s=0.0), "the holder must be able to renew its lease, also to 0 s"
        )

    async def complete(self, fence: int, answer: ClaimAnswer = _ANSWER, *, key: str = "key") -> bool:
        return await self._store.complete(self.name, key, fence, answer)

    async def give_back(self, fence: int) -> bool:
        return await self._store.give_back(self.name, "key", fence)


class ClaimStoreConformance:
    """Tests that every ClaimStore should pass. pytest collects subclasses, not this class itself.

    Each test opens a store in an event loop of its own. Leases end by `renew(lease_s=0)`, so the suite needs
    neither waiting nor a clock. It uses scopes that begin with `conformance-` and deletes nothing.
    """

    durable = False
    """True: a store that is opened again has the claims of before."""

    def open(self) -> AbstractAsyncContextManager[ClaimStore]:
        """Return a context manager that opens the store: decorate with `contextlib.asynccontextmanager`."""
        raise AssertionError("override open() and return a context manager that opens your store")

    def _run(self, test: Callable[[_Scope], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.open() as store:
                await test(_Scope(store))

        asyncio.run(run())

    def test_the_first_request_is_granted_and_the_next_one_told_how_long_to_wait(self) -> None:
        """One request holds the key; another one gets the rest of the lease."""

        async def test(scope: _Scope) -> None:
            first, second = await scope.claim(), await scope.claim()
            _expect(isinstance(first, Granted), f"the first request must be granted, not {first}")
            _expect(not getattr(first, "taken_over", True), "the first holder takes over from nothing")
            _expect(isinstance(second, InProgress), f"the second one must be InProgress, not {second}")
            left_s = getattr(second, "retry_after", -1.0)
            _expect(0 < left_s <= _LEASE_S, f"retry_after must be the rest of the lease, not {left_s}")

        self._run(test)

    def test_of_twenty_requests_at_once_one_is_granted(self) -> None:
        """Concurrent requests for a new key, and for one whose lease has ended, have one winner each."""

        async def test(scope: _Scope) -> None:
            for taken_over in (False, True):
                decisions = await asyncio.gather(*(scope.claim() for _ in range(20)))
                granted = [one for one in decisions if isinstance(one, Granted)]
                _expect(len(granted) == 1, f"1 of 20 requests must be granted, not {len(granted)}")
                _expect(granted[0].taken_over is taken_over, f"its taken_over must be {taken_over}")
                waiting = sum(isinstance(one, InProgress) for one in decisions)
                _expect(waiting == 19, f"19 of 20 requests must be InProgress, not {waiting}")
                await scope.expire(granted[0].fence)

        self._run(test)

    def test_a_completed_claim_replays_its_answer(self) -> None:
        """Status, headers in their order and body are those that were stored, byte for byte."""

        async def test(scope: _Scope) -> None:
            for key, body in (("key", b"\x00\xff not text"), ("empty", b""), ("not stored", None)):
                answer = ClaimAnswer(_ANSWER.status, _ANSWER.headers, body)
                fence = await scope.hold(key)
                stored = await scope.complete(fence, answer, key=key)
                _expect(stored, "complete by the holder must return True")
                decision = await scope.claim(key)
                _expect(decision == Replayed(answer), f"a repeat must get {answer}, not {decision}")

        self._run(test)

    def test_a_completed_claim_changes_no_more(self) -> None:
        """Neither another answer nor a renewal nor a give-back changes what is replayed."""

        async def test(scope: _Scope) -> None:
            fence = await scope.hold()
            await scope.complete(fence)
            changed = [
                await scope.complete(fence, _OTHER_ANSWER),
                await scope.renew(fence),
                await scope.give_back(fence),
            ]
            _expect(changed == [False] * 3, f"complete, renew and give_back must return False, not {changed}")
            decision = await scope.claim()
            _expect(decision == Replayed(_ANSWER), f"the first answer must stay, not {decision}")

        self._run(test)

    def test_another_payload_under_a_used_key_is_refused(self) -> None:
        """The fingerprint belongs to the key, before and after its completion."""

        async def test(scope: _Scope) -> None:
            fence = await scope.hold()
            for state in ("processing", "with its lease over", "completed"):
                decision = await scope.claim(fingerprint=_OTHER_ORDER)
                _expect(decision == Reused(), f"a claim that is {state} must be Reused, not {decision}")
                if state == "processing":
                    await scope.expire(fence)
                else:
                    await scope.complete(fence)

        self._run(test)

    def test_keys_and_scopes_are_apart(self) -> None:
        """Each pair of scope and key has a claim of its own, however the two are written together."""

        async def test(scope: _Scope) -> None:
            names = [
                ("a", "bc"),
                ("ab", "c"),
                ("a", "BC"),
                ("a", "bc "),
                ("a", "é"),
                ("a:b", "c"),
                ("a", "b:c"),
            ]
            for name, key in (*names, ("a", "k" * 255)):
                await scope.hold(key, scope=scope.name + name)

        self._run(test)

    def test_after_a_takeover_the_former_holder_changes_nothing(self) -> None:
        """The next holder has a higher fence, and only it can complete the claim."""

        async def test(scope: _Scope) -> None:
            former = await scope.hold()
            await scope.expire(former)
            second = await scope.claim()
            _expect(isinstance(second, Granted), f"a claim whose lease is over must be granted, not {second}")
            assert isinstance(second, Granted)  # noqa: S101 - for the type checker
            _expect(second.taken_over, "taken_over must be True: the former holder may have done the work")
            _expect(not second.given_back, "given_back must be False: the lease ended")
            _expect(second.fence > former, f"the fence must be above {former}, not {second.fence}")
            changed = [
                await scope.renew(former),
                await scope.give_back(former),
                await scope.complete(former, _OTHER_ANSWER),
            ]
            _expect(changed == [False] * 3, f"the former holder must get False, not {changed}")
            _expect(
                await scope.complete(second.fence), "the present holder must be able to complete the claim"
            )
            decision = await scope.claim()
            _expect(decision == Replayed(_ANSWER), f"its answer must be replayed, not {decision}")

        self._run(test)

    def test_a_lease_that_is_over_and_was_not_taken_over_can_be_renewed_and_completed(self) -> None:
        """A holder that was slow keeps its claim as long as no other request took it."""

        async def test(scope: _Scope) -> None:
            fence = await scope.hold()
            await scope.expire(fence)
            _expect(await scope.renew(fence), "the holder must be able to renew its lease")
            decision = await scope.claim()
            _expect(isinstance(decision, InProgress), f"a renewed lease is in force, so not {decision}")
            await scope.expire(fence)
            _expect(await scope.complete(fence), "the holder must be able to complete its claim")

        self._run(test)

    def test_a_claim_that_was_given_back_is_granted_at_once(self) -> None:
        """The next request gets a higher fence, and the former holder changes nothing more."""

        async def test(scope: _Scope) -> None:
            former = await scope.hold()
            _expect(await scope.give_back(former), "give_back by the holder must return True")
            changed = [
                await scope.give_back(former),
                await scope.renew(former),
                await scope.complete(former),
            ]
            _expect(changed == [False] * 3, f"a claim that ended must return False, not {changed}")
            second = await scope.claim()
            _expect(isinstance(second, Granted), f"the next request must be granted, not {second}")
            assert isinstance(second, Granted)  # noqa: S101 - for the type checker
            _expect(second.taken_over, "taken_over must be True: there was a holder before")
            _expect(second.fence > former, f"the fence must be above {former}, not {second.fence}")

        self._run(test)

    def test_a_key_without_a_claim_can_be_neither_renewed_nor_ended(self) -> None:
        """Nothing is stored for a key that was never claimed."""

        async def test(scope: _Scope) -> None:
            changed = [await scope.renew(1), await scope.give_back(1), await scope.complete(1)]
            _expect(changed == [False] * 3, f"an unknown key must return False, not {changed}")
            await scope.hold()

        self._run(test)

    def test_a_durable_store_keeps_claims_and_answers(self) -> None:
        """A store that is opened again knows who holds a key, and replays answers."""
        if not self.durable:
            return

        async def run() -> None:
            async with self.open() as store:
                before = _Scope(store)
                await before.complete(await before.hold())
                held = await before.hold("held")
            async with self.open() as store:
                after = _Scope(store, before.name)
                decision = await after.claim()
                _expect(decision == Replayed(_ANSWER), f"the answer must be replayed, not {decision}")
                decision = await after.claim("held")
                _expect(isinstance(decision, InProgress), f"fence {held} is held, so not {decision}")

        asyncio.run(run())


def _expect(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)
