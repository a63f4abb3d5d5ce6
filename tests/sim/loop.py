"""An event loop in virtual time: what is ready runs in an order drawn from a seed, and when nothing is ready
the clock jumps to the next timer. Nothing of the machine comes in, so a run repeats byte for byte.

Every callback runs in a context, and the context names the node that it belongs to. That makes real deaths:
a killed node's callbacks are dropped, and what it held stays referenced, so that no `finally` tidies up
after it. A paused node's callbacks wait until it wakes, as after SIGSTOP.
"""

import asyncio
import contextlib
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
NODE: ContextVar["Node"] = ContextVar("sim_node")
NOWHERE = Context()
"""The context of what happens outside every node: the wire, the rails, a fault."""


class RunawayError(Exception):
    """The run did not come to rest."""


@dataclass(eq=False)
class Node:
    """One life of one process. `traps` are called before the step that they are set for."""

    name: str
    alive: bool = True
    asleep_until: float = 0.0
    steps: int = 0
    traps: dict[int, Callable[["Node"], None]] = field(default_factory=dict)
    held: list["Handle"] = field(default_factory=list)


class Handle:
    """One callback to run. Timers have `at`."""

    __slots__ = ("_cancelled", "args", "at", "callback", "context", "node")

    def __init__(self, callback: Any, args: Any, context: Context, at: float) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.node: Node | None = context.get(NODE)
        self.at = at
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self.at


class VirtualLoop(asyncio.AbstractEventLoop):
    """Seconds of virtual time since the run began."""

    def __init__(self, random: Random, *, steps_max: int = 200_000) -> None:
        self._chance = random.random
        self._now = 0.0
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._lives: list[tuple[asyncio.Task[Any], Coroutine[Any, Any, Any], Context]] = []
        self._zombies: list[Handle] = []
        self._over = False
        self.steps = 0
        self.steps_max = steps_max
        self.failures: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._over

    def is_closed(self) -> bool:
        return self._over

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._over:
            self.failures.append(context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        context = context or copy_context()
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self._lives.append((task, coro, context))
        return task

    def start(self, coro: Coroutine[Any, Any, T], node: Node | None = None) -> asyncio.Task[T]:
        """Run a coroutine on a node, or on none."""
        context = NOWHERE.copy()
        if node is not None:
            context.run(NODE.set, node)
        return self.create_task(coro, context=context)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Handle:
        handle = Handle(callback, args, copy_context() if context is None else context, self._now)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Handle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Handle:
        handle = Handle(callback, args, copy_context() if context is None else context, when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def kill(self, node: Node) -> None:
        """End the node here and now: nothing of it ever runs again."""
        node.alive = False

    def pause(self, node: Node, seconds: float) -> None:
        """Stop the node for a while. Its timers go off when it wakes."""
        node.asleep_until = self._now + seconds
        self.call_at(node.asleep_until, self._wake, node, context=NOWHERE)

    def _wake(self, node: Node) -> None:
        if self._now >= node.asleep_until:
            held, node.held = node.held, []
            self._ready.extend(held)

    def run(self, finished: Callable[[], bool], *, until: float) -> None:
        """Run until `finished` holds at a moment when nothing is ready, nothing is left, or it is `until`."""
        events._set_running_loop(self)
        try:
            while self._ready or self._jump(finished, until):
                self._step()
        finally:
            events._set_running_loop(None)

    def _jump(self, finished: Callable[[], bool], until: float) -> bool:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] > until or finished():
            return False
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])
        return True

    def _step(self) -> None:
        ready = self._ready
        index = int(self._chance() * len(ready))
        handle = ready[index]
        ready[index] = ready[-1]
        ready.pop()
        if handle._cancelled or not self._may_run(handle):
            return
        self.steps += 1
        if self.steps > self.steps_max:
            raise RunawayError(f"no rest after {self.steps_max} steps, at {self._now:.3f} s")
        handle.context.run(handle.callback, *handle.args)

    def _may_run(self, handle: Handle) -> bool:
        node = handle.node
        if node is None:
            return True
        if node.alive and self._now >= node.asleep_until:
            node.steps += 1
            trap = node.traps.pop(node.steps, None) if node.traps else None
            if trap is None:
                return True
            trap(node)
        if not node.alive:
            self._zombies.append(handle)
        elif self._now < node.asleep_until:
            node.held.append(handle)
        else:
            return True
        return False

    def bury(self) -> None:
        """After the run: end what is left in its own context, so that nothing stirs later."""
        self._over = True
        for task, coro, context in self._lives:
            if not task.done():
                # Else asyncio logs an error for each task that was pending when its node died.
                task._log_destroy_pending = False
                with contextlib.suppress(BaseException):
                    context.run(coro.close)
        self._lives.clear()
        self._zombies.clear()
        self._ready.clear()
        self._timers.clear()


class Checkpoint:
    """Gives way once, so that a death or a cancellation can hit exactly here."""

    __slots__ = ()

    def __await__(self) -> Any:
        yield


checkpoint = Checkpoint()
