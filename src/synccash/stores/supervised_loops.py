"""Supervises the background loops of a process: restarts a loop that ends with an error, and counts it.

An asyncio task that ends with an error ends silently, and its work stops unnoticed: webhooks are not sent, or
other processes do not learn of an opened breaker. So every loop of the service runs under a supervisor.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger("synccash.loops")

Run = Callable[[], Awaitable[None]]

FIRST_PAUSE_S = 0.25
"""The pause before the first restart, in seconds; it doubles with each further restart."""
LONGEST_PAUSE_S = 5.0
"""The longest pause before a restart, in seconds. A loop that returns on a flag of its own sees the flag only
after the pause."""
STEADY_S = 60.0
"""After a loop has run for this many seconds without an error, its next pause is FIRST_PAUSE_S again."""
_CANCEL_AGAIN_S = 0.1


@dataclass(slots=True)
class LoopSupervisor:
    """Runs background loops; one per process. `restarts` maps each loop's name to its number of restarts."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    restarts: dict[str, int] = field(default_factory=dict[str, int])

    def start(self, name: str, run: Run) -> "SupervisedLoop":
        """Run a loop in a new task. Must be called inside the event loop."""
        return SupervisedLoop(asyncio.get_running_loop().create_task(self.run(name, run), name=name))

    async def run(self, name: str, run: Run) -> None:
        """Call `run` until it returns or this task is cancelled; after an error, pause and call it again."""
        self.restarts.setdefault(name, 0)
        pause_s = FIRST_PAUSE_S
        while True:
            began = self.clock()
            try:
                return await run()
            except (Exception, asyncio.CancelledError) as error:
                _end_if_cancelled(error)
                if self.clock() - began >= STEADY_S:
                    pause_s = FIRST_PAUSE_S
                self.restarts[name] += 1
                log.exception(
                    "loop_restarted", loop=name, error=type(error).__name__, pause_s=pause_s, exc_info=error
                )
            await self.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class SupervisedLoop:
    """A loop that runs until it returns or is ended."""

    task: asyncio.Task[None]

    async def end(self) -> None:
        """Cancel the loop and wait for its end."""
        await end_loops([self])


async def end_loops(loops: Iterable[SupervisedLoop]) -> None:
    """Cancel the loops together and wait for their ends.

    When a cancellation coincides with a time-out, redis-py may raise an error that a loop treats as
    a lost connection. So each loop is cancelled again until it has ended.
    """
    running = {loop.task for loop in loops}
    while running:
        for task in running:
            task.cancel()
        running = (await asyncio.wait(running, timeout=_CANCEL_AGAIN_S))[1]


def _end_if_cancelled(error: BaseException) -> None:
    """Raise CancelledError if this task is being cancelled, whichever error its loop raised.

    A CancelledError of another task, which the loop awaited, is handled like any other error.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
