"""Caches responses of finished requests in Valkey, where a rate-limit check returns them in the same round
trip."""

import asyncio

from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter

_MOST_AT_ONCE = 1_000


class ValkeyAnswers:
    """Caches responses in Valkey. The cache may lose every response: PostgreSQL stores them all."""

    __slots__ = ("_limiter", "_storing", "_ttl_s", "lost")

    def __init__(self, limiter: ValkeyLimiter, *, ttl_s: float = 86_400.0) -> None:
        self._limiter = limiter
        self._ttl_s = ttl_s
        self._storing: set[asyncio.Task[None]] = set()
        self.lost = 0

    def keep(self, key: str, stored: bytes) -> None:
        """Store in the background, under an `answer_key`. Dropped when too many are pending."""
        if len(self._storing) >= _MOST_AT_ONCE:
            self.lost += 1
            return
        task = asyncio.get_running_loop().create_task(self._store(key, stored), name="store answer")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _store(self, key: str, stored: bytes) -> None:
        if not await self._limiter.store_answer(key, stored, ttl_s=self._ttl_s):
            self.lost += 1

    async def aclose(self) -> None:
        """Wait up to 1 s for pending writes."""
        if self._storing:
            await asyncio.wait(self._storing, timeout=1.0)
