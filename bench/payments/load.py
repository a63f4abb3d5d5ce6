"""The load: callers that wait for each answer (closed), or payments at a fixed rate (open)."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.connection import Connection
from bench.payment_requests import pay, payer_number

CREATED = "201"


@dataclass(frozen=True, slots=True)
class Load:
    """Closed with so many `callers`, or open with `per_s` payments in a second."""

    callers: int = 0
    per_s: float = 0.0

    @property
    def name(self) -> str:
        return f"closed {self.callers}" if self.callers else f"open {self.per_s:g}/s"


@dataclass(slots=True)
class Answers:
    """What came back. Latencies of an open load count from the moment a payment was due; `late_s` is the most
    that the load itself was late. `took_s` ends with the last answer."""

    latencies_s: list[float] = field(default_factory=list[float])
    statuses: Counter[str] = field(default_factory=Counter[str])
    took_s: float = 0.0
    late_s: float = 0.0

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies in milliseconds."""
        latencies = sorted(self.latencies_s)
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1_000


def payment_requests(key: str) -> Iterator[bytes]:
    """Yield requests for payments, each of another payer."""
    for number in itertools.count():
        yield pay(key, payer_number("024", number))


class _Caller:
    """One connection, opened anew when the server has closed it. Posts one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None
        self._answer: asyncio.Future[str] | None = None

    async def post(self, data: bytes) -> str:
        """Return the status of the answer, or `hung up`."""
        loop = asyncio.get_running_loop()
        connection = self._connection
        if connection is None or connection.closes:
            self.close()
            _, connection = await loop.create_connection(
                lambda: Connection(self._answered), "127.0.0.1", self._port
            )
            self._connection = connection
        self._answer = loop.create_future()
        connection.send(data)
        return await self._answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.transport.close()

    def _answered(self, _connection: Connection, answer: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


async def run_load(load: Load, port: int, requests: Iterator[bytes], seconds: float) -> Answers:
    """Send requests for so many seconds, and wait for all answers. A closed load ends with `requests`."""
    answers, began = Answers(), time.perf_counter()
    if load.callers:
        await _closed(load.callers, port, requests, began + seconds, answers)
    else:
        await _open(load.per_s, port, requests, seconds, answers)
    answers.took_s = time.perf_counter() - began
    return answers


async def _closed(count: int, port: int, requests: Iterator[bytes], end: float, answers: Answers) -> None:
    async def call() -> None:
        caller = _Caller(port)
        while (sent := time.perf_counter()) < end and (data := next(requests, None)) is not None:
            await _post(caller, data, sent, answers)
        caller.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(call())


async def _open(per_s: float, port: int, requests: Iterator[bytes], seconds: float, answers: Answers) -> None:
    began, idle = time.perf_counter(), list[_Caller]()

    async def call(due: float) -> None:
        caller = idle.pop() if idle else _Caller(port)
        answers.late_s = max(answers.late_s, time.perf_counter() - due)
        await _post(caller, next(requests), due, answers)
        idle.append(caller)

    async with asyncio.TaskGroup() as group:
        for number in range(round(per_s * seconds)):
            due = began + number / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(call(due))
    for caller in idle:
        caller.close()


async def _post(caller: _Caller, data: bytes, due: float, answers: Answers) -> None:
    status = await caller.post(data)
    answers.latencies_s.append(time.perf_counter() - due)
    answers.statuses[status] += 1
