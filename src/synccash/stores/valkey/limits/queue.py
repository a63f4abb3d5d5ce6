"""Decisions that are asked for in one turn of the event loop leave together, in one run of the script."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from redis.exceptions import ResponseError

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.rate_limiter import Decision, Demand
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.limits import script as script
from synccash.stores.valkey.limits.connection import Reply, ValkeyConnection, answered

log = structlog.get_logger("synccash.rate_limiter")

# More than this leave at once, so that Valkey works on some while others are still asking.
_TOGETHER = 32
_NOTHING = Decision(allowed=True, standings=())

_Asked = tuple["asyncio.Future[Decision | None]", Sequence[Demand], str | None]
Decided = Callable[[Sequence[Decision], int], None]


class LimitQueue:
    """Live: what stands between the callers of one process and Valkey. For one event loop.

    `decided` is told of the decisions of each run and of the time in microseconds at which they were made.
    """

    __slots__ = ("_away", "_breaker", "_decided", "_line", "_loop", "_monotonic", "_tasks", "_waiting")

    def __init__(
        self,
        line: ValkeyConnection,
        breaker: CircuitBreaker,
        monotonic: Callable[[], float],
        decided: Decided,
    ) -> None:
        self._line = line
        self._breaker = breaker
        self._monotonic = monotonic
        self._decided = decided
        self._away = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[_Asked] = []

    def ask(self, demands: Sequence[Demand], answer: str | None) -> "asyncio.Future[Decision | None]":
        """Have it decided; None: Valkey is away."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Decision | None] = loop.create_future()
        if not demands and answer is None:
            future.set_result(_NOTHING)
            return future
        waiting = self._waiting
        waiting.append((future, demands, answer))
        if len(waiting) == 1:
            loop.call_soon(self._leave)
        elif len(waiting) == _TOGETHER:
            self._leave()
        return future

    def _leave(self) -> None:
        batch = [one for one in self._waiting if not one[0].done()]
        self._waiting.clear()
        if not batch:
            return
        try:
            ticket = self._breaker.enter()
        except CircuitOpenError:
            _settle(batch, None)
            return
        if ticket < 0:
            # One finds out whether Valkey is back; the others don't wait.
            _settle(batch[1:], None)
            del batch[1:]
        began = self._monotonic()
        arguments = script.arguments([(demands, answer) for _, demands, answer in batch])
        reply = self._line.start(b"EVALSHA", script.DIGEST, *arguments)
        if reply is None:
            self._later(batch, ticket, began)
        else:
            reply.add_done_callback(partial(self._arrived, batch, ticket, began))

    def _arrived(
        self, batch: list[_Asked], ticket: int, began: float, reply: "asyncio.Future[Reply]"
    ) -> None:
        try:
            found = answered(reply.result())
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                self._failed(batch, ticket, began, error)
                return
            # It did nothing; only this run is sent again, and brings the script along.
            self._later(batch, ticket, began)
        except UNREACHABLE as error:
            self._failed(batch, ticket, began, error)
        else:
            self._told(batch, ticket, began, found)

    def _later(self, batch: list[_Asked], ticket: int, began: float) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._bring(batch, ticket, began), name="limits")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring(self, batch: list[_Asked], ticket: int, began: float) -> None:
        """Connect if need be, and bring the script along."""
        arguments = script.arguments([(demands, answer) for _, demands, answer in batch])
        try:
            found = await self._line.call(b"EVAL", script.SOURCE, *arguments)
        except UNREACHABLE as error:
            self._failed(batch, ticket, began, error)
        except BaseException as error:
            self._breaker.drop(ticket)
            _refuse(batch, error)
            raise
        else:
            self._told(batch, ticket, began, found)

    def _failed(self, batch: list[_Asked], ticket: int, began: float, error: Exception) -> None:
        reason = type(error).__name__
        for _ in batch:
            self._breaker.leave(ticket, Outcome.FAILED, self._monotonic() - began, error=reason)
        if not self._away:
            log.warning("limiter_degraded", reason=reason)
            self._away = True
        _settle(batch, None)

    def _told(self, batch: list[_Asked], ticket: int, began: float, reply: Reply) -> None:
        self._breaker.leave(ticket, Outcome.OK, self._monotonic() - began)
        if self._away:
            log.info("limiter_shared_again")
            self._away = False
        try:
            found = script.decisions(reply, [(demands, answer) for _, demands, answer in batch])
            self._decided(found, reply[0])
        except Exception as error:
            _refuse(batch, error)
            raise
        for (future, _, _), decision in zip(batch, found, strict=True):
            if not future.done():
                future.set_result(decision)


def _settle(batch: Sequence[_Asked], decision: Decision | None) -> None:
    for future, _, _ in batch:
        if not future.done():
            future.set_result(decision)


def _refuse(batch: Sequence[_Asked], error: BaseException) -> None:
    """Whatever it is, those who wait are told."""
    for future, _, _ in batch:
        if not future.done():
            future.set_exception(error)
