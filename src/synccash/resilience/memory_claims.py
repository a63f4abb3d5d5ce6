"""A ClaimStore in memory, for tests and for services of one process. A restart loses its claims."""

from collections.abc import Callable
from contextlib import nullcontext
from time import monotonic

from synccash.resilience import claims
from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.live_parts import adopt_state, track
from synccash.resilience.claims import ClaimAnswer, ClaimDecision, ClaimRecord


class MemoryClaims:
    """Stores up to `most` claims in memory. When full, it refuses new keys, because dropping a claim in use
    would let its work run twice.

    `retention_s`: seconds for which a claim and its answer are stored after its first request.
    """

    def __init__(
        self, *, retention_s: float = 86_400.0, most: int = 100_000, clock: Callable[[], float] = monotonic
    ) -> None:
        self._records: dict[tuple[str, str], ClaimRecord] = {}
        self._expiries: dict[tuple[str, str], float] = {}
        self._retention_s = retention_s
        self._most = most
        self._clock = clock
        track(self)

    async def claim(self, scope: str, key: str, fingerprint: bytes, *, lease_s: float) -> ClaimDecision:
        """Decide on a request. Raises MemoryError when the store is full."""
        self._sweep()
        name, now = (scope, key), self._clock()
        decision, record = claims.claim(self._records.get(name), fingerprint, now=now, lease_s=lease_s)
        if record is not None:
            if name not in self._records:
                if len(self._records) >= self._most:
                    raise MemoryError(f"the store is full: it holds {self._most} idempotency keys")
                self._expiries[name] = now + self._retention_s
            self._records[name] = record
        return decision

    async def renew(self, scope: str, key: str, fence: int, *, lease_s: float) -> bool:
        """Extend the lease by `lease_s` from now. False: the claim was taken over or has ended."""
        record = self._records.get((scope, key))
        renewed = record and claims.renew(record, fence, now=self._clock(), lease_s=lease_s)
        return self._store(scope, key, renewed)

    async def complete(self, scope: str, key: str, fence: int, answer: ClaimAnswer) -> bool:
        """Store the answer. False: the claim was taken over; discard this answer and claim again."""
        record = self._records.get((scope, key))
        return self._store(scope, key, record and claims.complete(record, fence, answer))

    async def give_back(self, scope: str, key: str, fence: int) -> bool:
        """End the claim without an answer. False: the claim was taken over."""
        record = self._records.get((scope, key))
        return self._store(scope, key, record and claims.give_back(record, fence))

    def forget(self, clock: Clock | None = None) -> Callable[[], None]:
        """Have the state of a new one, and `clock` if given, until the returned function is called. For
        `synccash.resilience.testing.fresh`."""
        new = MemoryClaims(clock=clock or self._clock)
        return adopt_state(self, new, ("_clock", "_records", "_expiries"), nullcontext())

    def _store(self, scope: str, key: str, record: ClaimRecord | None) -> bool:
        if record is None:
            return False
        self._records[scope, key] = record
        return True

    def _sweep(self) -> None:
        """Remove expired claims. Claims expire in the order in which they were made."""
        now = self._clock()
        while self._expiries and next(iter(self._expiries.values())) <= now:
            name = next(iter(self._expiries))
            record = self._records[name]
            del self._expiries[name]
            if record.answer is None and now < record.lease_until:
                self._expiries[name] = record.lease_until  # the holder is still working under its lease
                return
            del self._records[name]
