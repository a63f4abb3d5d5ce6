"""Gives each idempotency key one answer: replays a stored one, joins a running request, or runs it."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from synccash.middleware import capture, claim_heartbeat
from synccash.middleware.authentication import UNAVAILABLE
from synccash.middleware.capture import CapturedResponse
from synccash.middleware.refusal import REFUSAL_CODE, App, Refusal, Refuse, Scope, Send
from synccash.middleware.request_guard import (
    GuardDecision,
    GuardedRequest,
    RequestGuard,
    with_headers,
)
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


@dataclass(slots=True, eq=False)
class _RunningRequest:
    """Live: a request that is being admitted or runs in this process, and the repeats that wait for it in the
    order of their arrival. Each gets the answer, or None when it has to run itself."""

    fingerprint: bytes
    waiting: "deque[asyncio.Future[Answer | None]]" = field(
        default_factory=deque["asyncio.Future[Answer | None]"]
    )


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

    async def serve(self, request: KeyedRequest, send: Send, admission: GuardedRequest) -> None:
        """Admit and answer a request.

        A repeat that comes while the same request is being admitted or runs here joins it and costs no user
        quota. When the other one ends without an answer for repeats, the repeat is admitted like a first
        request.
        """
        running = self._running.get(request.identity.answer_name)
        while running is not None and running.fingerprint != request.identity.fingerprint:
            decision = await self._admit(admission)
            send_answer = with_headers(send, decision.headers)
            if decision.refusal is None and self._running.get(request.identity.answer_name) is not running:
                running = self._running.get(request.identity.answer_name)
                continue
            self.counts.key_conflict += decision.refusal is None
            await self.refuse(request.scope, send_answer, decision.refusal or KEY_REUSED)
            return
        if running is None:
            # Registered before it is admitted, so that repeats that arrive meanwhile join it.
            running = _RunningRequest(request.identity.fingerprint)
            self._running[request.identity.answer_name] = running
        elif await self._join(request, running, send, admission):
            return
        await self._serve_first(request, running, send, admission)

    async def _join(
        self, request: KeyedRequest, running: _RunningRequest, send: Send, admission: GuardedRequest
    ) -> bool:
        """Answer a repeat of a running request; return False when this request has to run itself next."""
        turn: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        running.waiting.append(turn)
        answer: Answer | None = None
        is_next = False
        try:
            decision = await self._admit(admission.without_users())
            send = with_headers(send, decision.headers)
            if decision.refusal is not None:
                await self.refuse(request.scope, send, decision.refusal)
                return True
            if await self._replay_stored(request, send, decision.stored_answer):
                return True
            answer = await turn
            is_next = answer is None
        finally:
            # A request that leaves by itself must not take its turn with it.
            if not is_next and not turn.cancel() and not turn.cancelled() and turn.result() is None:
                self._end(request, running, None)
        if answer is None:
            return False
        self.counts.joined += 1
        await self._replay(answer, send)
        return True

    async def _serve_first(
        self, request: KeyedRequest, running: _RunningRequest, send: Send, admission: GuardedRequest
    ) -> None:
        runs = False
        try:
            decision = await self._admit(admission)
            runs = decision.refusal is None and _readable(decision.stored_answer) is None
        finally:
            if not runs:
                self._end(request, running, None)
        send = with_headers(send, decision.headers)
        if decision.refusal is not None:
            await self.refuse(request.scope, send, decision.refusal)
        elif runs:
            await self._run_first(request, running, send)
        else:
            await self._replay_stored(request, send, decision.stored_answer)

    async def _admit(self, admission: GuardedRequest) -> GuardDecision:
        return GuardDecision() if self.guard is None else await self.guard.admit(admission)

    def _end(self, request: KeyedRequest, running: _RunningRequest, result: Answer | None) -> None:
        """Give the answer to all that wait for it. Without one, only the next runs, and the others wait for
        that: if all tried again at once, n repeats would cost n * n turns."""
        while running.waiting:
            turn = running.waiting.popleft()
            if turn.done():
                continue
            turn.set_result(result)
            if result is None:
                return
        del self._running[request.identity.answer_name]

    async def _replay_stored(self, request: KeyedRequest, send: Send, stored: bytes | None) -> bool:
        """Answer from the cache; return False when it holds nothing that can be read."""
        found = _readable(stored)
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

    async def _run_first(self, request: KeyedRequest, running: _RunningRequest, send: Send) -> None:
        """Run the request in a task of its own, which goes on when the client hangs up: its answer then waits
        for the repeat."""
        work = self._execute(request, running, send)
        task = asyncio.get_running_loop().create_task(work, name="idempotent request")
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
            self._end(request, running, result)

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


def _readable(stored: bytes | None) -> tuple[bytes, Answer] | None:
    """Return the fingerprint and the answer that the cache holds; None when it holds nothing to be read."""
    return None if stored is None else unpacked(stored)


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
