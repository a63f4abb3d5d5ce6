"""Gives each idempotency key one answer: replays a stored one, joins a running request, or runs it."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
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
from synccash.resilience.claims import (
    Answer,
    ClaimAnswer,
    ClaimDecision,
    ClaimStore,
    Granted,
    InProgress,
    Replayed,
    Reused,
)
from synccash.resilience.stored_answers import packed, unpacked

log = logging.getLogger("synccash.idempotency")

REPLAYED_HEADER = (b"idempotent-replayed", b"true")
CLAIM = "synccash.claim"
"""Where a request's scope holds the claim that the middleware has made for it."""

IN_PROGRESS_CODE = "idempotency_key_in_progress"
UNKNOWN_CODE = "idempotency_outcome_unknown"
_STORED_HEADERS = frozenset({b"content-type", b"content-encoding", b"location", b"etag", b"content-language"})
# The application refused the request, so a repeat may run. 307 and 308 send the same request elsewhere, such
# as to the path without its trailing slash.
_NOT_FINAL = frozenset({307, 308, 401, 403, 408, 409, 413, 425, 429})
# A 204 has no Content-Length, and that of a 304 would be the length of another response (RFC 9110, 8.6).
_WITHOUT_LENGTH = frozenset({204, 304})
_EFFECTS = "synccash.effects"
_LATE_COMPLETIONS = 100
"""How often an answer is offered to a store that cannot be reached: for ten leases."""


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


MayRerun = Callable[[KeyedRequest], Awaitable[bool | ClaimAnswer]]
"""Decides about a repeat of a request whose outcome is unknown: True runs it again, False answers 409, and a
ClaimAnswer is stored and sent as the answer of the first request."""


@dataclass(slots=True)
class _Effects:
    """What the application says of its effects. In the scope, of which frameworks make copies."""

    none: bool = False


def nothing_done(scope: Scope) -> None:
    """Say that the request had no effect, so that a repeat may run again after a 5xx or an exception.

    A handler calls it before it fails, such as when the first service that it needs refuses connections.
    Without it, the outcome of a request that failed is unknown.
    """
    effects: _Effects | None = scope.get(_EFFECTS)
    if effects is not None:
        effects.none = True


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
    503. `may_rerun` decides about repeats of a request that failed with an unknown outcome; without it, they
    get 409.
    """

    app: App
    refuse: Refuse
    guard: RequestGuard | None
    claims: ClaimStore | None
    lease_s: float
    answer_max: int
    unavailable: tuple[type[Exception], ...]
    may_rerun: MayRerun | None = None
    counts: IdempotencyCounts = field(default_factory=IdempotencyCounts)
    _running: dict[str, _RunningRequest] = field(default_factory=dict[str, _RunningRequest])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def close(self, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for requests whose clients have hung up, and for background tasks."""
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
                self.end(request, running, None)
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
                self.end(request, running, None)
        send = with_headers(send, decision.headers)
        if decision.refusal is not None:
            await self.refuse(request.scope, send, decision.refusal)
        elif runs:
            await self._run_first(request, running, send)
        else:
            await self._replay_stored(request, send, decision.stored_answer)

    async def _admit(self, admission: GuardedRequest) -> GuardDecision:
        return GuardDecision() if self.guard is None else await self.guard.admit(admission)

    def end(self, request: KeyedRequest, running: _RunningRequest, result: Answer | None) -> None:
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
        if request.identity.matches(fingerprint):
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
        for the repeat. The answer is sent as soon as it is complete; background tasks may follow it."""
        execution = _Execution(self, request, running, send)
        task = self.start(execution.run(), "idempotent request")
        response = await asyncio.shield(execution.response)
        if response is not None and not response.overflowed:
            await response.deliver()
        # Errors of background tasks reach the server, as without the middleware.
        await asyncio.shield(task)
        if response is None:
            raise RuntimeError("the application ended the request without a response")

    def start(
        self, work: Coroutine[None, None, None], name: str, context: Context | None = None
    ) -> asyncio.Task[None]:
        """Start a task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cache(self, request: KeyedRequest, response: CapturedResponse) -> Answer | None:
        """Put the answer into the cache, and return it if repeats may have it."""
        answer = _as_answer(response)
        if answer.body is None:
            return None
        if self.guard is not None:
            self.guard.keep(request.identity.answer_name, packed(request.identity.fingerprint, answer))
        return answer


@dataclass(slots=True, eq=False)
class _Execution:
    """One run of a request. `response` gets the response when it is stored and may be sent, or None when
    there is none. All that joined the request get their answer at the same moment."""

    coordinator: IdempotencyCoordinator
    request: KeyedRequest
    running: _RunningRequest
    send: Send
    response: asyncio.Future[CapturedResponse | None] = field(init=False)
    _effects: _Effects = field(default_factory=_Effects)
    _settling: bool = False
    _sent: CapturedResponse | None = None

    def __post_init__(self) -> None:
        self.response = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Run the request, and store what became of it."""
        claims = self.coordinator.claims
        try:
            if self.request.claimed_by == "middleware" and claims is not None:
                await self._claim_and_run(claims)
            else:
                await self._run_handler()
        finally:
            # Also when the task is cancelled: joined requests must not wait for ever.
            if not self._settling:
                self._finish(None, None)

    def _finish(self, response: CapturedResponse | None, result: Answer | None) -> None:
        """Release the response, and give `result` to the requests that joined this one. Only the first call
        has an effect."""
        if self.response.done():
            return
        self.response.set_result(response)
        self.coordinator.end(self.request, self.running, result)

    async def _run_app(self, completed: Callable[[CapturedResponse], Awaitable[None]]) -> None:
        owner = self.coordinator
        response = CapturedResponse(self.send, owner.answer_max, completed)
        await capture.run(owner.app, self.request.scope, self.request.body, response)

    async def _run_handler(self) -> None:
        """Run an application that claims the key in its own commit: a 2xx is what it has stored there."""

        async def completed(response: CapturedResponse) -> None:
            self._finish(response, self._handler_result(response))

        await self._run_app(completed)

    def _handler_result(self, response: CapturedResponse) -> Answer | None:
        owner, refused = self.coordinator, self.request.scope.get(REFUSAL_CODE)
        owner.counts.key_conflict += refused == KEY_REUSED.code
        owner.counts.in_progress += refused == IN_PROGRESS_CODE
        if not 200 <= response.status < 300 or response.overflowed:
            return None
        if response.header(REPLAYED_HEADER[0]) is None:
            owner.counts.new_request += 1
        else:
            owner.counts.store_hit += 1
        return owner.cache(self.request, response)

    async def _claim_and_run(self, claims: ClaimStore) -> None:
        """Claim the key here, because the application stores no claims of its own."""
        counts = self.coordinator.counts
        try:
            decision, fingerprint = await self._claim(claims)
        except self.coordinator.unavailable:
            await self._refuse(UNAVAILABLE)
            return
        except MemoryError:
            await self._refuse(_STORE_FULL)
            return
        match decision:
            case Reused():
                counts.key_conflict += 1
                await self._refuse(KEY_REUSED)
            case InProgress():
                counts.in_progress += 1
                await self._refuse(key_in_progress(decision.retry_after))
            case Replayed():
                counts.store_hit += 1
                self._finish(_replayed(self.send, decision.answer), decision.answer)
            case Granted():
                counts.new_request += not decision.taken_over
                counts.taken_over += decision.taken_over
                await self._run_under_claim(_HeldClaim(self, claims, decision, fingerprint))

    async def _claim(self, claims: ClaimStore) -> tuple[ClaimDecision, bytes]:
        """Claim the key; return the fingerprint that the claim has too.

        A claim that an earlier version stored for the same request has one of its former fingerprints.
        """
        identity, lease_s = self.request.identity, self.coordinator.lease_s
        scope, key, fingerprint = identity.scope, identity.key, identity.fingerprint
        decision = await claims.claim(scope, key, fingerprint, lease_s=lease_s)
        if not isinstance(decision, Reused):
            return decision, fingerprint
        for former in identity.former_fingerprints:
            found = await claims.claim(scope, key, former, lease_s=lease_s)
            if not isinstance(found, Reused):
                return found, former
        return decision, fingerprint

    async def _run_under_claim(self, claim: "_HeldClaim") -> None:
        self.request.scope[CLAIM] = claim.granted
        self.request.scope[_EFFECTS] = self._effects
        context = copy_context()

        async def completed(response: CapturedResponse) -> None:
            # In a task and a context of its own: a deadline or a cancelled scope of the application ends
            # neither the commit of its answer nor the answer.
            self._settling = True
            settling = self.coordinator.start(self._settle(claim, response), "idempotent answer", context)
            await asyncio.shield(settling)

        try:
            if await self._may_run(claim):
                await self._run_app(completed)
        except Exception:
            if not self._settling:
                await claim.end(may_rerun=self._effects.none)
            raise
        finally:
            if not self._settling:
                claim.heartbeat.cancel()

    async def _may_run(self, claim: "_HeldClaim") -> bool:
        """Tell whether the request runs. Otherwise it is answered here."""
        if not claim.outcome_unknown:
            return True
        ask = self.coordinator.may_rerun
        decision = False if ask is None else await ask(self.request)
        if not isinstance(decision, bool | ClaimAnswer):  # pyright: ignore[reportUnnecessaryIsInstance]
            # Before it is stored: a completed claim without an answer could never be answered again.
            raise TypeError(f"may_rerun must return True, False or a ClaimAnswer, not {decision!r}")
        if decision is True:
            return True
        if decision is False:
            await claim.end(may_rerun=False)
            await self._refuse(outcome_unknown(self.coordinator.lease_s))
            return False
        claim.heartbeat.cancel()
        if await self._complete(claim, decision):
            self._finish(_replayed(self.send, decision), decision)
        return False

    async def _settle(self, claim: "_HeldClaim", response: CapturedResponse) -> None:
        """Store the answer, or end the claim without one; then release the response."""
        self._sent = response if response.overflowed else None
        try:
            claim.heartbeat.cancel()
            if response.status >= 500 or response.status in _NOT_FINAL:
                await claim.end(may_rerun=response.status < 500 or self._effects.none)
                self._finish(response, None)
            elif await self._complete(claim, _as_answer(response)):
                self._finish(response, self.coordinator.cache(self.request, response))
        finally:
            self._finish(None, None)

    async def _complete(self, claim: "_HeldClaim", answer: Answer) -> bool:
        """Store the answer under the claim. An answer that is not stored is not sent, because a repeat could
        get another one: then the request is refused here."""
        try:
            if await claim.complete(answer):
                return True
        except self.coordinator.unavailable:
            self.coordinator.start(self._complete_later(claim, answer), "idempotent answer")
            await self._refuse(_NOT_STORED)
            return False
        # Another request took the claim over: its answer counts, and not this one.
        self.coordinator.counts.fenced_off += 1
        await self._refuse(key_in_progress(1.0))
        return False

    async def _complete_later(self, claim: "_HeldClaim", answer: Answer) -> None:
        """Store an answer when the store is back: otherwise the outcome stays unknown, although it is known
        here."""
        for _ in range(_LATE_COMPLETIONS):
            await asyncio.sleep(self.coordinator.lease_s / 10)
            with contextlib.suppress(*self.coordinator.unavailable):
                await claim.complete(answer)
                return

    async def _refuse(self, refusal: Refusal) -> None:
        """Refuse the request, unless its response was sent as it came. Requests that joined it try on their
        own."""
        if self._sent is not None:
            self._finish(self._sent, None)
            return
        response = CapturedResponse(self.send, self.coordinator.answer_max)
        await self.coordinator.refuse(self.request.scope, response.collect, refusal)
        self._finish(response, None)


class _HeldClaim:
    """A claim that this process holds for one execution, and the heartbeat that renews it."""

    __slots__ = ("_claims", "_execution", "_fingerprint", "_name", "granted", "heartbeat")

    def __init__(
        self, execution: _Execution, claims: ClaimStore, granted: Granted, fingerprint: bytes
    ) -> None:
        identity = execution.request.identity
        self._execution = execution
        self._claims = claims
        self._fingerprint = fingerprint
        self._name = identity.scope, identity.key, granted.fence
        self.granted = granted
        self.heartbeat = claim_heartbeat.start(claims, *self._name, execution.coordinator.lease_s)

    @property
    def outcome_unknown(self) -> bool:
        """True when an earlier holder may have done the work: it did not give the claim back, or it was of an
        earlier version, which gave claims back after any failure."""
        current = self._fingerprint == self._execution.request.identity.fingerprint
        return self.granted.taken_over and not (self.granted.given_back and current)

    async def end(self, *, may_rerun: bool) -> None:
        """End the claim without an answer. The next request runs, or finds the outcome unknown, at once; when
        the store is unreachable, after the lease."""
        self.heartbeat.cancel()
        if not may_rerun and not self.outcome_unknown:
            scope, _, fence = self._name
            log.warning(
                "a request of %s failed with an unknown outcome; may_rerun decides about repeats",
                scope,
                extra={"resilience": {"event": "outcome_unknown", "scope": scope, "fence": fence}},
            )
        with contextlib.suppress(*self._execution.coordinator.unavailable):
            if may_rerun:
                await self._claims.give_back(*self._name)
            else:
                await self._claims.renew(*self._name, lease_s=0.0)

    async def complete(self, answer: Answer) -> bool:
        """Store the answer. False when another request runs under the key, or has an answer.

        A request that took the claim over and did not run has ended its claim: the answer is stored under one
        more claim, because it is what happened.
        """
        if await self._claims.complete(*self._name, answer):
            return True
        scope, key, _ = self._name
        lease_s = self._execution.coordinator.lease_s
        again = await self._claims.claim(scope, key, self._fingerprint, lease_s=lease_s)
        return isinstance(again, Granted) and await self._claims.complete(scope, key, again.fence, answer)


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
    if answer.status not in _WITHOUT_LENGTH:
        response.headers.append((b"content-length", str(len(response.body)).encode()))
    response.headers.append(REPLAYED_HEADER)
    return response


KEY_REUSED = Refusal(
    status=422,
    code="idempotency_key_reused",
    detail="This Idempotency-Key was already used with a different request. Use a new key for a new request.",
)

_NOT_STORED = replace(
    UNAVAILABLE,
    detail="The result of the request was not stored, because the database is unreachable. Retry with the "
    "same Idempotency-Key after Retry-After seconds.",
)


_STORE_FULL = replace(
    UNAVAILABLE,
    detail="No further Idempotency-Key can be stored now; nothing was done. Retry with the same "
    "Idempotency-Key after Retry-After seconds.",
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


def outcome_unknown(retry_after_s: float) -> Refusal:
    """Return the 409 for a key whose first request failed after it may have had an effect."""
    return Refusal(
        status=409,
        code=UNKNOWN_CODE,
        detail="An earlier request with this Idempotency-Key failed, and it is not known whether it took "
        "effect. Retry after Retry-After seconds. Do not use another key before the outcome is known.",
        retryable=True,
        retry_after_s=max(1.0, retry_after_s),
    )
