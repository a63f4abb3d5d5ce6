"""Gives each idempotency key one answer: replays a stored one, joins a running request, or runs it."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Literal

from synccash.middleware import capture, claim_heartbeat
from synccash.middleware.authentication import UNAVAILABLE
from synccash.middleware.capture import CapturedResponse
from synccash.middleware.refusal import REFUSAL_CODE, App, Refusal, Refuse, Scope, Send
from synccash.middleware.request_guard import RequestGuard
from synccash.middleware.request_identity import RequestIdentity
from synccash.resilience.claims import Answer, ClaimStore, Granted, InProgress, Replayed, Reused
from synccash.resilience.stored_answers import packed, unpacked

REPLAYED_HEADER = (b"idempotent-replayed", b"true")
CLAIM = "synccash.claim"
"""Where a request's scope holds the claim that the middleware has made for it."""

IN_PROGRESS_CODE = "idempotency_key_in_progress"
_STORED_HEADERS = frozenset({b"content-type", b"location", b"etag", b"content-language"})
# 307 and 308 send the same request elsewhere, such as to the path without its trailing slash.
_NOT_FINAL = frozenset({307, 308, 401, 403, 408, 409, 413, 425, 429})


@dataclass(slots=True)
class IdempotencyCounts:
    """Counts the outcomes of requests with keys in this process. Metrics read the numbers on demand."""

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
    """A request that runs in this process. `result` is its answer, or None when no repeat may have it."""

    fingerprint: bytes
    result: "asyncio.Future[Answer | None]"


@dataclass(slots=True, kw_only=True)
class IdempotencyCoordinator:
    """Runs each request with a key once, and replays its stored answer. One per process.

    The middleware's own claims last for `lease_s` seconds and are renewed while the application works.
    Answers above `answer_max` bytes are stored without their body: a repeat gets status and headers, and
    follows `Location`. `unavailable` are the errors of a claim store out of reach, which are answered with
    503.
    """

    app: App
    refuse: Refuse
    guard: RequestGuard | None
    claims: ClaimStore | None
    lease_s: float
    answer_max: int
    unavailable: tuple[type[Exception], ...]
    counts: IdempotencyCounts = field(default_factory=IdempotencyCounts)
    _running: dict[str, _RunningRequest] = field(default_factory=dict[str, _RunningRequest])
    _tasks: set[asyncio.Task[CapturedResponse]] = field(default_factory=set[asyncio.Task[CapturedResponse]])

    async def close(self, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for requests whose clients have hung up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)

    async def serve(self, request: KeyedRequest, send: Send, stored: bytes | None) -> None:
        """Answer a request. `stored` is what the cache holds under its answer name."""
        if await self._replay_stored(request, send, stored):
            return
        while (running := self._running.get(request.identity.answer_name)) is not None:
            if running.fingerprint != request.identity.fingerprint:
                self.counts.key_conflict += 1
                await self.refuse(request.scope, send, KEY_REUSED)
                return
            # None when no repeat may have its answer: then this request runs by itself.
            answer = await asyncio.shield(running.result)
            if answer is not None:
                self.counts.joined += 1
                await self._replay(answer, send)
                return
        await self._run_first(request, send)

    async def _replay_stored(self, request: KeyedRequest, send: Send, stored: bytes | None) -> bool:
        """Answer from the cache; return False when it holds nothing that can be read."""
        found = None if stored is None else unpacked(stored)
        if found is None:
            return False
        fingerprint, answer = found
        if fingerprint == request.identity.fingerprint:
            self.counts.cache_hit += 1
            await self._replay(answer, send)
        else:
            self.counts.key_conflict += 1
            await self.refuse(request.scope, send, KEY_REUSED)
        return True

    async def _replay(self, answer: Answer, send: Send) -> None:
        self.counts.replayed_bytes += len(answer.body or b"")
        await _replayed(send, answer).deliver()

    async def _run_first(self, request: KeyedRequest, send: Send) -> None:
        """Run the request in a task of its own, which goes on when the client hangs up: its answer then waits
        for the repeat."""
        loop = asyncio.get_running_loop()
        running = _RunningRequest(request.identity.fingerprint, loop.create_future())
        self._running[request.identity.answer_name] = running
        task = loop.create_task(self._execute(request, running, send), name="idempotent request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        response = await asyncio.shield(task)
        if not response.overflowed:
            await response.deliver()

    async def _execute(self, request: KeyedRequest, running: _RunningRequest, send: Send) -> CapturedResponse:
        result: Answer | None = None
        try:
            if request.claimed_by == "middleware" and self.claims is not None:
                response, result = await self._claim_and_run(request, send, self.claims)
            else:
                response, result = await self._run_handler(request, send)
            return response
        finally:
            # Also when the task is cancelled: joined requests must not wait for ever.
            del self._running[request.identity.answer_name]
            running.result.set_result(result)

    async def _run_handler(self, request: KeyedRequest, send: Send) -> tuple[CapturedResponse, Answer | None]:
        """Run an application that claims the key in its own commit: a 2xx is what it has stored there."""
        response = await self._run(request, send)
        refused = request.scope.get(REFUSAL_CODE)
        self.counts.key_conflict += refused == KEY_REUSED.code
        self.counts.in_progress += refused == IN_PROGRESS_CODE
        if not 200 <= response.status < 300 or response.overflowed:
            return response, None
        if response.header(REPLAYED_HEADER[0]) is None:
            self.counts.new_request += 1
        else:
            self.counts.store_hit += 1
        return response, self._cache(request, response)

    async def _claim_and_run(
        self, request: KeyedRequest, send: Send, claims: ClaimStore
    ) -> tuple[CapturedResponse, Answer | None]:
        """Claim the key here, because the application stores no claims of its own."""
        identity = request.identity
        try:
            decision = await claims.claim(
                identity.scope, identity.key, identity.fingerprint, lease_s=self.lease_s
            )
        except self.unavailable:
            return await self._refused(request, send, UNAVAILABLE), None
        match decision:
            case Reused():
                self.counts.key_conflict += 1
                return await self._refused(request, send, KEY_REUSED), None
            case InProgress():
                self.counts.in_progress += 1
                return await self._refused(request, send, key_in_progress(decision.retry_after)), None
            case Replayed():
                self.counts.store_hit += 1
                return _replayed(send, decision.answer), decision.answer
            case Granted():
                self.counts.new_request += not decision.taken_over
                self.counts.taken_over += decision.taken_over
                return await self._run_under_claim(request, send, claims, decision)

    async def _run_under_claim(
        self, request: KeyedRequest, send: Send, claims: ClaimStore, claim: Granted
    ) -> tuple[CapturedResponse, Answer | None]:
        request.scope[CLAIM] = claim
        name = (request.identity.scope, request.identity.key, claim.fence)
        async with claim_heartbeat.renewed(claims, *name, self.lease_s):
            try:
                response = await self._run(request, send)
            except BaseException:
                await self._give_back(claims, name)
                raise
        if response.status >= 500 or response.status in _NOT_FINAL:
            await self._give_back(claims, name)
            return response, None
        try:
            completed = await claims.complete(*name, _as_answer(response))
        except self.unavailable:
            # An answer that is not stored is not sent: a repeat could get another one.
            return await self._refused(request, send, UNAVAILABLE), None
        if not completed:
            # Another request took the claim over: its answer counts, and not this one.
            self.counts.fenced_off += 1
            return await self._refused(request, send, key_in_progress(1.0)), None
        return response, self._cache(request, response)

    async def _give_back(self, claims: ClaimStore, name: tuple[str, str, int]) -> None:
        """Let the next repeat begin at once. If the store is unreachable, it begins when the lease ends."""
        with contextlib.suppress(*self.unavailable):
            await claims.give_back(*name)

    async def _run(self, request: KeyedRequest, send: Send) -> CapturedResponse:
        return await capture.run(self.app, request.scope, request.body, send, self.answer_max)

    def _cache(self, request: KeyedRequest, response: CapturedResponse) -> Answer | None:
        """Put the answer into the cache, and return it if repeats may have it."""
        answer = _as_answer(response)
        if answer.body is None:
            return None
        if self.guard is not None:
            self.guard.keep(request.identity.answer_name, packed(request.identity.fingerprint, answer))
        return answer

    async def _refused(self, request: KeyedRequest, send: Send, refusal: Refusal) -> CapturedResponse:
        """Return a refusal as a response that is still to be sent."""
        response = CapturedResponse(send, self.answer_max)
        await self.refuse(request.scope, response.collect, refusal)
        return response


def _as_answer(response: CapturedResponse) -> Answer:
    stored = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in response.headers
        if name.lower() in _STORED_HEADERS
    )
    return Answer(response.status, stored, None if response.overflowed else bytes(response.body))


def _replayed(send: Send, answer: Answer) -> CapturedResponse:
    """Return a stored answer as a response that is still to be sent."""
    response = CapturedResponse(send, 0)
    response.status = answer.status
    response.body = bytearray(answer.body or b"")
    response.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    response.headers += [(b"content-length", str(len(response.body)).encode()), REPLAYED_HEADER]
    return response


KEY_REUSED = Refusal(
    status=422,
    code="idempotency_key_reused",
    detail="This Idempotency-Key was already used with a different request. Use a new key for a new request.",
)


def key_in_progress(retry_after_s: float) -> Refusal:
    """Return the 409 for a key whose first request still runs, for at most `retry_after_s` seconds."""
    return Refusal(
        status=409,
        code=IN_PROGRESS_CODE,
        detail="The first request with this Idempotency-Key is still running. "
        "Retry after Retry-After seconds.",
        retryable=True,
        retry_after_s=max(1.0, retry_after_s),
    )
