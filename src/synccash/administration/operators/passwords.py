"""Password hashes (argon2id), made in a thread, one at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from synccash.payments.operator import SignInThrottledError

T = TypeVar("T")
_MEMORY_KIB = 65_536
_ITERATIONS = 3
_WAITING_MAX = 8


@dataclass(slots=True)
class PasswordHashes:
    """Live: one per process.

    Makes one hash at a time (64 MiB, about 0.1 s of one core, argon2id with RFC 9106's second recommended
    parameters in one lane), in a thread that does not hold the GIL meanwhile. At most 8 callers wait; a later
    one is refused. So sign-ins neither block the event loop nor exhaust memory.
    """

    hasher: PasswordHasher = field(
        default_factory=lambda: PasswordHasher(time_cost=_ITERATIONS, memory_cost=_MEMORY_KIB, parallelism=1)
    )
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="password")
    )
    _waiting: int = 0
    _decoy: str | None = None

    async def make(self, password: str) -> str:
        """Return the hash of a password. Raises SignInThrottledError while too many callers wait."""
        return await self._run(self._make, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether a password belongs to a stored hash; without one, do the same work and return False.

        Raises SignInThrottledError while too many callers wait.
        """
        return await self._run(self._verify, stored, password)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *arguments: str | None) -> T:
        if self._waiting >= _WAITING_MAX:
            raise SignInThrottledError(1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1

    def _make(self, password: str) -> str:
        return self.hasher.hash(password)

    def _verify(self, stored: str | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = self.hasher.hash("no operator has this password")
        try:
            return self.hasher.verify(stored or self._decoy, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False
