"""Batches the rate-limit requests of one event-loop iteration into one run of the Valkey script."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from redis.exceptions import ResponseError

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.rate_limiter import Decision, Demand
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey.client import UNREACHABLE, failure_state
from synccash.stores.valkey.connection import ValkeyConnection, ValkeyReply, unwrap_reply
from synccash.stores.valkey.limits import script as script

log = structlog.get_logger("synccash.rate_limiter")

# A full batch is sent at once, so that Valkey works on it while more requests come in.
_MAX_BATCH = 32
_NO_LIMITS = Decision(allowed=True, statuses=())

_PendingRequest = tuple["asyncio.Future[Decision | None]", Sequence[Demand], str | None]
OnDecisions = Callable[[Sequence[Decision], int], None]


class LimitQueue:
    """Queues the rate-limit requests of one process to Valkey. For one event loop.

    `on_decisions` is called with the decisions of each run and their time, microseconds since the epoch.
    """

    __slots__ = (
        "_breaker",
        "_connection",
        "_degraded",
        "_loop",
        "_monotonic",
        "_on_decisions",
        "_pending",
        "_tasks",
    )

    def __init__(
        self,
        connection: ValkeyConnection,
        breaker: CircuitBreaker,
        monotonic: Callable[[], float],
        on_decisions: OnDecisions,
    ) -> None:
        self._connection = connection
        self._breaker = breaker
        self._monotonic = monotonic
        self._on_decisions = on_decisions
        self._degraded = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: list[_PendingRequest] = []

    def submit(self, demands: Sequence[Demand], answer: str | None) -> "asyncio.Future[Decision | None]":
        """Queue a request. The future's result is the decision, or None if Valkey is unavailable."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Decision | None] = loop.create_future()
        if not demands and answer is None:
            future.set_result(_NO_LIMITS)
            return future
        pending = self._pending
        pending.append((future, demands, answer))
        if len(pending) == 1:
            loop.call_soon(self._send_batch)
        elif len(pending) == _MAX_BATCH:
            self._send_batch()
        return future

    def _send_batch(self) -> None:
        batch = [request for request in self._pending if not request[0].done()]
        self._pending.clear()
        if not batch:
            return
        try:
            permit = self._breaker.acquire()
        except CircuitOpenError:
            _resolve_all(batch, None)
            return
        if permit < 0:
            # A probe may wait for a Valkey that is down, so it carries one request and the others go on.
            _resolve_all(batch[1:], None)
            del batch[1:]
        started_at = self._monotonic()
        arguments = script.encode_requests([(demands, answer) for _, demands, answer in batch])
        reply = self._connection.start(b"EVALSHA", script.DIGEST, *arguments)
        if reply is None:
            self._schedule_eval(batch, permit, started_at)
        else:
            reply.add_done_callback(partial(self._on_reply, batch, permit, started_at))

    def _on_reply(
        self,
        batch: list[_PendingRequest],
        permit: int,
        started_at: float,
        reply: "asyncio.Future[ValkeyReply]",
    ) -> None:
        try:
            result = unwrap_reply(reply.result())
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                self._on_failure(batch, permit, started_at, error)
                return
            # NOSCRIPT means that nothing was executed, so the batch can be sent again with the script itself.
            self._schedule_eval(batch, permit, started_at)
        except UNREACHABLE as error:
            self._on_failure(batch, permit, started_at, error)
        else:
            self._deliver(batch, permit, started_at, result)

    def _schedule_eval(self, batch: list[_PendingRequest], permit: int, started_at: float) -> None:
        running = self._eval(batch, permit, started_at)
        task = asyncio.get_running_loop().create_task(running, name="limits")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _eval(self, batch: list[_PendingRequest], permit: int, started_at: float) -> None:
        """Send the batch with EVAL and the whole script; connects first if necessary."""
        arguments = script.encode_requests([(demands, answer) for _, demands, answer in batch])
        try:
            result = await self._connection.call(b"EVAL", script.SOURCE, *arguments)
        except UNREACHABLE as error:
            self._on_failure(batch, permit, started_at, error)
        except BaseException as error:
            self._breaker.release(permit)
            _fail_all(batch, error)
            raise
        else:
            self._deliver(batch, permit, started_at, result)

    def _on_failure(
        self, batch: list[_PendingRequest], permit: int, started_at: float, error: Exception
    ) -> None:
        reason = type(error).__name__
        # Each request counts as one call for the breaker, so that a large batch opens it at once.
        for _ in batch:
            self._breaker.record(permit, Outcome.FAILED, self._monotonic() - started_at, error=reason)
        if not self._degraded:
            log.warning("limiter_degraded", valkey=failure_state(error).value, reason=reason)
            self._degraded = True
        _resolve_all(batch, None)

    def _deliver(
        self, batch: list[_PendingRequest], permit: int, started_at: float, reply: ValkeyReply
    ) -> None:
        self._breaker.record(permit, Outcome.OK, self._monotonic() - started_at)
        if self._degraded:
            log.info("limiter_recovered")
            self._degraded = False
        try:
            decisions = script.decode_reply(reply, [(demands, answer) for _, demands, answer in batch])
            self._on_decisions(decisions, reply[0])
        except Exception as error:
            _fail_all(batch, error)
            raise
        for (future, _, _), decision in zip(batch, decisions, strict=True):
            if not future.done():
                future.set_result(decision)


def _resolve_all(batch: Sequence[_PendingRequest], decision: Decision | None) -> None:
    for future, _, _ in batch:
        if not future.done():
            future.set_result(decision)


def _fail_all(batch: Sequence[_PendingRequest], error: BaseException) -> None:
    """Raise the error in every caller of the batch, so that none waits forever."""
    for future, _, _ in batch:
        if not future.done():
            future.set_exception(error)
