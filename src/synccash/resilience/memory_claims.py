"""Claims of one process, for services that live in one and for tests. A restart forgets them."""

from collections.abc import Callable
from time import monotonic

from synccash.resilience import claims
from synccash.resilience.claims import Answer, Decision, Record


class MemoryClaims:
    """Live: a ClaimStore in memory. Full, it refuses new keys rather than forget one that is in use."""

    def __init__(
        self, *, retention_s: float = 86_400.0, most: int = 100_000, clock: Callable[[], float] = monotonic
    ) -> None:
        self._records: dict[tuple[str, str], Record] = {}
        self._ends: dict[tuple[str, str], float] = {}
        self._retention_s = retention_s
        self._most = most
        self._clock = clock

    async def claim(self, scope: str, key: str, fingerprint: bytes, *, lease_s: float) -> Decision:
        """Decide about a request. Raises MemoryError where too many keys are kept."""
        self._sweep()
        name, now = (scope, key), self._clock()
        decision, record = claims.claim(self._records.get(name), fingerprint, now=now, lease_s=lease_s)
        if record is not None:
            if name not in self._records:
                if len(self._records) >= self._most:
                    raise MemoryError(f"{self._most} idempotency keys are kept already")
                self._ends[name] = now + self._retention_s
            self._records[name] = record
        return decision

    async def renew(self, scope: str, key: str, fence: int, *, lease_s: float) -> bool:
        """Keep a claim for `lease_s` more seconds. False: it was lost or is over."""
        record = self._records.get((scope, key))
        after = record and claims.renew(record, fence, now=self._clock(), lease_s=lease_s)
        return self._kept(scope, key, after)

    async def complete(self, scope: str, key: str, fence: int, answer: Answer) -> bool:
        """Keep the answer. False: another took over; discard yours and ask again."""
        record = self._records.get((scope, key))
        return self._kept(scope, key, record and claims.complete(record, fence, answer))

    async def give_back(self, scope: str, key: str, fence: int) -> bool:
        """End the work without an answer. False: another took over."""
        record = self._records.get((scope, key))
        return self._kept(scope, key, record and claims.give_back(record, fence))

    def _kept(self, scope: str, key: str, record: Record | None) -> bool:
        if record is None:
            return False
        self._records[scope, key] = record
        return True

    def _sweep(self) -> None:
        """Forget what has expired. Keys expire in the order in which they came."""
        now = self._clock()
        while self._ends and next(iter(self._ends.values())) <= now:
            name = next(iter(self._ends))
            record = self._records[name]
            del self._ends[name]
            if record.answer is None and now < record.lease_until:
                self._ends[name] = record.lease_until  # its holder is still at work
                return
            del self._records[name]
