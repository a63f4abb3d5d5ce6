"""One answer for each key: replayed, joined, or made once in a task that no disconnect cancels."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Literal

from synccash.middleware import capture, heartbeat
from synccash.middleware.authentication import UNAVAILABLE
from synccash.middleware.capture import Captured
from synccash.middleware.refusal import REFUSED, App, Refusal, Refuse, Scope, Send
from synccash.middleware.request_guard import Door
from synccash.middleware.request_identity import RequestIdentity
from synccash.resilience.claims import Answer, ClaimStore, Granted, InProgress, Replayed, Reused
from synccash.resilience.stored_answers import packed, unpacked

REPLAYED = (b"idempotent-replayed", b"true")
CLAIM = "synccash.claim"
"""Where a request's scope holds the claim that the middleware has made for it."""

IN_PROGRESS = "idempotency_key_in_progress"
_KEPT_HEADERS = frozenset({b"content-type", b"location", b"etag", b"content-language"})
# 307 and 308 send the same request elsewhere, such as to the path without its trailing slash.
_NOT_FINAL = frozenset({307, 308, 401, 403, 408, 409, 413, 425, 429})


@dataclass(slots=True)
class Counts:
    """Live: what idempotency came to, as integers that are read when somebody asks."""

    new_request: int = 0
    cache_hit: int = 0
    joined: int = 0
    store_hit: int = 0
    key_conflict: int = 0
    in_progress: int = 0
    taken_over: int = 0
    fenced_off: int = 0
    replayed_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request with its identity. `claimed_by` says who stores the claim: the middleware, or the handler in
    its own commit."""

    scope: Scope
    body: bytes
    identity: RequestIdentity
    claimed_by: Literal["middleware", "handler"]


@dataclass(frozen=True, slots=True)
class _RunningRequest:
    """A request that runs in this process. `result` is its answer, or None where no repeat may have it."""

    fingerprint: bytes
    result: "asyncio.Future[Answer | None]"


@dataclass(slots=True, kw_only=True)
class IdempotencyCoordinator:
    """Live: one per process.

    Claims of the middleware's own last for `lease_s` seconds and are renewed while the application works.
    Answers above `answer_max` bytes are not kept: a repeat gets status and headers, and looks there.
    `unavailable` are the errors of a claim store out of reach: 503.
    """

    app: App
    refuse: Refuse
    door: Door | None
    claims: ClaimStore | None
    lease_s: float
    answer_max: int
    unavailable: tuple[type[Exception], ...]
    counts: Counts = field(default_factory=Counts)
    _flights: dict[str, _RunningRequest] = field(default_factory=dict[str, _RunningRequest])
    _tasks: set[asyncio.Task[Captured]] = field(default_factory=set[asyncio.Task[Captured]])

    async def close(self, grace_s: float) -> None:
        """Let requests whose clients hung up finish, for `grace_s` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)

    async def serve(self, asked: KeyedRequest, send: Send, stored: bytes | None) -> None:
        """Answer a request; `stored` is what the cache held under its name."""
        if await self._replay_stored(asked, send, stored):
            return
        while (flight := self._flights.get(asked.identity.answer_name)) is not None:
            if flight.fingerprint != asked.identity.fingerprint:
                self.counts.key_conflict += 1
                await self.refuse(asked.scope, send, REUSED)
                return
            # Its outcome may be none that a repeat can have: then this request goes on by itself.
            answer = await asyncio.shield(flight.result)
            if answer is not None:
                self.counts.joined += 1
                await self._replay(answer, send)
                return
        await self._lead(asked, send)

    async def _replay_stored(self, asked: KeyedRequest, send: Send, stored: bytes | None) -> bool:
        """Answer from the cache; False where it holds nothing that can be read."""
        found = None if stored is None else unpacked(stored)
        if found is None:
            return False
        kept, answer = found
        if kept == asked.identity.fingerprint:
            self.counts.cache_hit += 1
            await self._replay(answer, send)
        else:
            self.counts.key_conflict += 1
            await self.refuse(asked.scope, send, REUSED)
        return True

    async def _replay(self, answer: Answer, send: Send) -> None:
        self.counts.replayed_bytes += len(answer.body or b"")
        await _deliver(_as_captured(send, answer), send)

    async def _lead(self, asked: KeyedRequest, send: Send) -> None:
        loop = asyncio.get_running_loop()
        flight = self._flights[asked.identity.answer_name] = _RunningRequest(
            asked.identity.fingerprint, loop.create_future()
        )
        task = loop.create_task(self._carry_out(asked, flight, send), name="idempotent request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Whoever hangs up leaves; the request goes on, and its answer waits for the repeat.
        captured = await asyncio.shield(task)
        if not captured.overflowed:
            await _deliver(captured, send)

    async def _carry_out(self, asked: KeyedRequest, flight: _RunningRequest, send: Send) -> Captured:
        result: Answer | None = None
        try:
            if asked.claimed_by == "middleware" and self.claims is not None:
                captured, result = await self._claimed(asked, send, self.claims)
            else:
                captured, result = await self._handled(asked, send)
            return captured
        finally:
            # Also when the task is cancelled: those who joined must not wait for ever.
            del self._flights[asked.identity.answer_name]
            flight.result.set_result(result)

    async def _handled(self, asked: KeyedRequest, send: Send) -> tuple[Captured, Answer | None]:
        """The application claims the key in its own commit; what it answers well is what it has stored."""
        captured = await self._run(asked, send)
        refused = asked.scope.get(REFUSED)
        self.counts.key_conflict += refused == REUSED.code
        self.counts.in_progress += refused == IN_PROGRESS
        if not 200 <= captured.status < 300 or captured.overflowed:
            return captured, None
        if captured.header(REPLAYED[0]) is None:
            self.counts.new_request += 1
        else:
            self.counts.store_hit += 1
        return captured, self._keep(asked, captured)

    async def _claimed(
        self, asked: KeyedRequest, send: Send, claims: ClaimStore
    ) -> tuple[Captured, Answer | None]:
        """Claim the key here, because the application keeps no claims of its own."""
        try:
            identity = asked.identity
            held = await claims.claim(
                identity.scope, identity.key, identity.fingerprint, lease_s=self.lease_s
            )
        except self.unavailable:
            return await self._refused(asked, send, UNAVAILABLE), None
        match held:
            case Reused():
                self.counts.key_conflict += 1
                return await self._refused(asked, send, REUSED), None
            case InProgress():
                self.counts.in_progress += 1
                return await self._refused(asked, send, in_progress(held.retry_after)), None
            case Replayed():
                self.counts.store_hit += 1
                return _as_captured(send, held.answer), held.answer
            case Granted():
                self.counts.new_request += not held.taken_over
                self.counts.taken_over += held.taken_over
                return await self._held(asked, send, claims, held)

    async def _held(
        self, asked: KeyedRequest, send: Send, claims: ClaimStore, held: Granted
    ) -> tuple[Captured, Answer | None]:
        asked.scope[CLAIM] = held
        name = (asked.identity.scope, asked.identity.key, held.fence)
        async with heartbeat.kept(claims, *name, self.lease_s):
            try:
                captured = await self._run(asked, send)
            except BaseException:
                await self._give_back(claims, name)
                raise
        if captured.status >= 500 or captured.status in _NOT_FINAL:
            await self._give_back(claims, name)
            return captured, None
        try:
            completed = await claims.complete(*name, _as_answer(captured))
        except self.unavailable:
            # What is not kept is not told: a repeat could be told another thing.
            return await self._refused(asked, send, UNAVAILABLE), None
        if not completed:
            # Another took over meanwhile: what stands there is the truth, not what was done here.
            self.counts.fenced_off += 1
            return await self._refused(asked, send, in_progress(1.0)), None
        return captured, self._keep(asked, captured)

    async def _give_back(self, claims: ClaimStore, name: tuple[str, str, int]) -> None:
        """Let the next repeat begin at once; where that cannot be told, it begins when the lease ends."""
        with contextlib.suppress(*self.unavailable):
            await claims.give_back(*name)

    async def _run(self, asked: KeyedRequest, send: Send) -> Captured:
        return await capture.run(self.app, asked.scope, asked.body, send, self.answer_max)

    def _keep(self, asked: KeyedRequest, captured: Captured) -> Answer | None:
        """Put the answer where a repeat finds it first."""
        answer = _as_answer(captured)
        if answer.body is not None and self.door is not None:
            self.door.keep(asked.identity.answer_name, packed(asked.identity.fingerprint, answer))
        return answer if answer.body is not None else None

    async def _refused(self, asked: KeyedRequest, send: Send, refusal: Refusal) -> Captured:
        """A refusal as an answer that is still to be sent."""
        captured = Captured(send, self.answer_max)
        await self.refuse(asked.scope, captured.take, refusal)
        return captured


def _as_answer(captured: Captured) -> Answer:
    kept = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in captured.headers
        if name.lower() in _KEPT_HEADERS
    )
    return Answer(captured.status, kept, None if captured.overflowed else bytes(captured.body))


def _as_captured(send: Send, answer: Answer) -> Captured:
    """An answer that was kept, as it goes out again."""
    captured = Captured(send, 0)
    captured.status = answer.status
    captured.body = bytearray(answer.body or b"")
    captured.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    captured.headers += [(b"content-length", str(len(captured.body)).encode()), REPLAYED]
    return captured


async def _deliver(captured: Captured, send: Send) -> None:
    await send({"type": "http.response.start", "status": captured.status, "headers": captured.headers})
    await send({"type": "http.response.body", "body": bytes(captured.body)})


REUSED = Refusal(
    status=422,
    code="idempotency_key_reused",
    detail="This Idempotency-Key was already used with a different request. Use a new key for a new request.",
)


def in_progress(retry_after_s: float) -> Refusal:
    """The first request under the key is still running, for at most `retry_after_s` seconds."""
    return Refusal(
        status=409,
        code=IN_PROGRESS,
        detail="The first request with this Idempotency-Key is still running. "
        "Retry after Retry-After seconds.",
        retryable=True,
        retry_after_s=max(1.0, retry_after_s),
    )
