"""A whole installation in virtual time: nodes with the real engine, rails, clients, and faults."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any, Literal

import msgspec
import structlog

from sim.book import Faults
from sim.clock import EPOCH, SeededIdentities, VirtualClock
from sim.loop import NODE, NOWHERE, Node, VirtualLoop
from sim.order_store import FakeOrderStore, Fault
from sim.rails import PASSWORD, SimRail
from synccash.engine.dispatch.policy_dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.engine import Engine, build_engine
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.engine.requests.review import Resolution
from synccash.engine.settings import EngineSettings
from synccash.payments.case import Claim
from synccash.payments.errors import (
    PaymentError,
    ReferenceAlreadyUsedError,
    StateConflictError,
    StoreUnavailableError,
)
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.lifecycle import Routed
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import OrderKind, PaymentStatus, StatusDetail
from synccash.payments.payout import Payee
from synccash.payments.rail import Environment
from synccash.payments.references import ReferenceKey
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.payments.risk import RiskDecision, RiskOutcome
from synccash.resilience.circuit_breaker import BreakerSettings, BreakerState, Transition
from synccash.resilience.profiles import Profile
from synccash.resilience.registry import Registry
from synccash.resilience.retry import Retry

TENANT = Tenant("m_1", livemode=False)
RETRY = Retry(attempts=3, base=1.0, cap=5.0)
BREAKER = BreakerSettings(failures=3, open_s=5.0, open_max_s=20.0)
PROFILES = {"*": Profile(retry=RETRY, breaker=BREAKER, total_timeout=20.0)}
LADDER = InquirySchedule(steps=(0.5, 1, 2, 4), tail=((15, 150), (60, 600)))
REFERENCES = ReferenceKey.of("5c" * 32)
SETTINGS = EngineSettings(
    public_url="http://sim",
    request_deadline_s=4.0,
    attempt_timeout_s=2.0,
    lease_s=6.0,
    heartbeat_s=2.0,
    settle_s=10.0,
    resend_pause_max_s=10.0,
    queue_retry_s=2.0,
    schedule=LADDER,
)
_OUTAGE = OutagePolicy(outcome=RiskOutcome.REVIEW)
INQUIRY_TIMEOUT_S = 2.0
HORIZON_S = 3_000.0
SLOW_S = 950.0
"""Who waits longer is parked."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """A fault that hits `node` before its step number `step`: death, or a pause of `pause_s` seconds."""

    node: str
    step: int
    pause_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A period in which `node` cannot reach the order store: commits fail, requests to rails leave."""

    node: str
    from_s: float
    until_s: float


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A row that raises when it is read: the `number`-th order that there is, perhaps for ever."""

    number: int
    from_s: float
    until_s: float


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One run, from nothing but its values."""

    seed: int
    rails: tuple[Faults, ...] = (Faults(), Faults())
    no_dedup: frozenset[int] = frozenset()
    no_failure_word: frozenset[int] = frozenset()
    final_not_found: frozenset[int] = frozenset()
    """The rails that document that what they cannot find will never move money."""
    nodes: int = 2
    payments: int = 1
    payouts: int = 0
    expires_in_s: int = 60
    refunds: bool = False
    cancels: bool = False
    passwords: bool = False
    cancels_within_s: float = 10.0
    late_passwords: bool = False
    """A payer types the password into a page that was left open, whatever became of the payment."""
    schedule: InquirySchedule = LADDER
    store_faults: float = 0.0
    blows: tuple[Blow, ...] = ()
    skews_s: tuple[float, ...] = ()
    """How wrong the clock of each node is, against the order store's."""
    partitions: tuple[Partition, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    prompt_window_s: float | None = None
    """How long a payer has to approve at the rails that name no failure."""
    settle_s: float = 10.0
    ends_by_s: float | None = None
    """When every order has to have succeeded."""
    is_screened: bool = False
    """A fraud service is asked about every order, and people decide about those that it doubts."""
    resolves: bool = False
    """Somebody looks into what is under review and ends it as the rails' books say."""
    watch_s: float = 0.0
    """How long the run goes on although nothing is due soon."""


@dataclass(eq=False)
class Bell:
    """A doorbell that rings when a poll would find something: polls that find nothing are left out."""

    loop: VirtualLoop
    order_store: FakeOrderStore
    random: Random
    _waiting: asyncio.Future[None] | None = None
    _timer: Any = None

    def notify(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        self._waiting = self.loop.create_future()
        self.look(timeout_s)
        await self._waiting

    def look(self, poll_s: float = SETTINGS.poll_s) -> None:
        """Wait for the first poll that finds something."""
        if self._timer is not None:
            self._timer.cancel()
        due = self.order_store.next_due()
        if due is None or self._waiting is None:
            return
        at = max(self.loop.time(), (due - EPOCH).total_seconds() if isinstance(due, datetime) else 0.0)
        at += poll_s * self.random.random()
        self._timer = self.loop.call_at(at, self.notify, context=NOWHERE)


@dataclass(eq=False)
class Process:
    """One life of a node."""

    node: Node
    engine: Engine
    bell: Bell


@dataclass(eq=False)
class World:
    """Live: built, run once, then judged."""

    scenario: Scenario
    told: list[tuple[str, Reply]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    processes: dict[str, Process] = field(default_factory=dict)

    occurrences: Counter[str] = field(default_factory=Counter[str])
    cleared: set[str] = field(default_factory=set[str])
    """The orders that the fraud service let pass, or that somebody may have approved."""
    declined: set[str] = field(default_factory=set[str])
    """The orders that somebody declined and was told so."""
    resolved: dict[str, Resolution] = field(default_factory=dict[str, Resolution])
    """How somebody ended an order under review, or may have."""
    opened: list[Transition] = field(default_factory=list[Transition])
    """The breakers that have opened."""

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.random = Random(scenario.seed)
        self.loop = VirtualLoop(Random(scenario.seed + 1))
        self.clock = VirtualClock(self.loop)
        self.identities = SeededIdentities(self.random)
        self.order_store = FakeOrderStore(
            self.clock, fault=self._store_fault, changed=self._look, steps=lambda: self.loop.steps
        )
        self.rails = {
            f"rail_{n}": SimRail(
                f"rail_{n}",
                self.loop,
                self.random,
                faults,
                self._callback,
                dedup=n not in scenario.no_dedup,
                names_failure=n not in scenario.no_failure_word,
                not_found_is_final=n in scenario.final_not_found,
                window_s=scenario.prompt_window_s if n in scenario.no_failure_word else None,
                occurrences=self.occurrences,
            )
            for n, faults in enumerate(scenario.rails)
        }
        # Every order of a scenario is a test order: this account must never hear of one.
        self.live_rail = SimRail("live_rail", self.loop, Random(0), Faults(), self._callback)
        self.live_rail.environment = Environment.LIVE
        self._clients = 0
        for number in range(scenario.nodes):
            self._start(f"node_{number}")
        for row in scenario.unreadable:
            self.loop.call_at(row.from_s, self._spoil, row, context=NOWHERE)

    def run(self) -> None:
        """Run to the end, and leave nothing behind."""
        for number in range(self.scenario.payments):
            self._client(self._buyer(number))
        for number in range(self.scenario.payouts):
            self._client(self._sender(number))
        if self.scenario.is_screened:
            self._client(self._reviewer())
        if self.scenario.resolves:
            self._client(self._investigator())
        with logs_into(self.errors, self._hold_lost):
            try:
                self.loop.run(self._at_rest, until=self._horizon_s())
            finally:
                self.loop.bury()
        self.errors.extend(str(failure) for failure in self.loop.failures)
        self._count_occurrences()

    def _horizon_s(self) -> float:
        if self.scenario.ends_by_s is not None:
            return self.scenario.ends_by_s + 1.0
        return max(HORIZON_S, self.scenario.watch_s)

    def skew_s(self, name: str | None) -> float:
        """How wrong the clock of a node is."""
        skews = {f"node_{number}": skew_s for number, skew_s in enumerate(self.scenario.skews_s)}
        return skews.get(name or "", 0.0)

    def steps_of(self, name: str) -> int:
        """How many steps the node's present life has made."""
        return self.processes[name].node.steps

    def _start(self, name: str) -> None:
        node = Node(name)
        clock = VirtualClock(self.loop, self.skew_s(name))
        bell = Bell(self.loop, self.order_store, self.random)
        registry = Registry(PROFILES, clock=self.clock.monotonic, random=self.random.random)
        registry.watch(lambda breaker: breaker.listen(self._note_opening))
        dispatch = PolicyDispatch(
            registry.breaker,
            registry.profile,
            clock,
            DispatchSettings(attempt_timeout_s=2.0, inquiry_timeout_s=INQUIRY_TIMEOUT_S),
            self.random.random,
        )
        engine = build_engine(
            order_store=self.order_store,
            rails={**self.rails, self.live_rail.name: self.live_rail},
            dispatch=dispatch,
            clock=clock,
            identities=self.identities,
            references=REFERENCES,
            work_signal=bell,
            settings=replace(SETTINGS, schedule=self.scenario.schedule, settle_s=self.scenario.settle_s),
            screening=Screening(self._screen, _OUTAGE) if self.scenario.is_screened else None,
        )
        first = name not in self.processes
        self.processes[name] = Process(node, engine, bell)
        if first:
            for blow in self.scenario.blows:
                if blow.node == name:
                    node.traps[blow.step] = lambda node, blow=blow: self._strike(node, blow)
        self.loop.start(self._serve(engine), node)

    async def _serve(self, engine: Engine) -> None:
        engine.start()
        await engine.worker.run()

    def _strike(self, node: Node, blow: Blow) -> None:
        if blow.pause_s is not None:
            self.loop.pause(node, blow.pause_s)
            return
        self.loop.kill(node)
        self.loop.call_later(0.5, self._start, node.name, context=NOWHERE)

    def _look(self) -> None:
        self.errors.extend(f"forgotten: {name}" for name in self.order_store.forgotten())
        for process in self.processes.values():
            process.bell.look()

    def _spoil(self, row: Unreadable) -> None:
        orders = list(self.order_store.rows)
        if not orders:
            return
        order_id = orders[row.number % len(orders)]
        self.order_store.unreadable.add(order_id)
        if row.until_s < HORIZON_S:
            self.loop.call_at(row.until_s, self._mend, order_id, context=NOWHERE)

    def _mend(self, order_id: str) -> None:
        self.order_store.unreadable.discard(order_id)
        self._look()

    def _is_cut_off(self) -> bool:
        node, now = NODE.get(None), self.loop.time()
        return node is not None and any(
            cut.node == node.name and cut.from_s <= now < cut.until_s for cut in self.scenario.partitions
        )

    def _hold_lost(self, event: Mapping[str, Any]) -> None:
        """A node ends its work on an order: another must have become the order's holder."""
        row = self.order_store.rows[event["order_id"]]
        if row.order.fence <= event["fence"]:
            self.errors.append(f"ended: work on {row.order.id} was ended, and nobody else had taken it")

    def _note_opening(self, transition: Transition) -> None:
        if transition.after is BreakerState.OPEN:
            self.opened.append(transition)

    def _count_occurrences(self) -> None:
        """Count the faults that are no rail's."""
        sends = [begun for rail in self.rails.values() for begun in rail.begun]
        self.occurrences["unreadable"] += len(self.order_store.set_aside)
        self.occurrences["skew"] += sum(self.skew_s(begun.by) != 0 for begun in sends)

    def _store_fault(self, method: str) -> Fault | None:
        if self.scenario.partitions and self._is_cut_off():
            self.occurrences["partition"] += method == "record"
            return "before"
        rate = self.scenario.store_faults
        if rate == 0 or self.loop.time() > 120 or self.random.random() >= rate:
            return None
        kind: Literal["before", "after"] = "before" if self.random.random() < 0.5 else "after"
        return kind

    def _at_rest(self) -> bool:
        """Nothing happens any more but the slow looks at parked orders."""
        busy = self._clients > 0 or self._rails_busy() or self._due_soon()
        return not busy and self.loop.time() >= self.scenario.watch_s

    def _due_soon(self) -> bool:
        due = self.order_store.next_due()
        if isinstance(due, datetime):
            return (due - EPOCH).total_seconds() < self.loop.time() + SLOW_S
        return due is not None

    def _rails_busy(self) -> bool:
        return any(booked.is_busy for rail in self.rails.values() for booked in rail.book)

    def _client(self, work: Any) -> None:
        self._clients += 1

        async def run() -> None:
            try:
                await work
            finally:
                self._clients -= 1

        self.loop.start(run())

    async def _callback(self, rail: str, token: str, body: bytes = b"") -> None:
        """A callback comes to some node; the rail tries again when it is not taken."""
        for number in range(5):
            name = f"node_{(len(token) + number) % self.scenario.nodes}"
            with contextlib.suppress(TimeoutError, StoreUnavailableError):
                await self._on(name, lambda engine: engine.take_callback(rail, token, {}, body), 5.0)
                return
            await asyncio.sleep(1.0)

    async def _on(self, name: str, call: Callable[[Engine], Any], timeout_s: float) -> Any:
        """Have a node do something for a caller outside, who gives up after `timeout_s` seconds."""
        process = self.processes[name]
        answer: asyncio.Future[Any] = self.loop.create_future()

        async def handle() -> None:
            try:
                result = await call(process.engine)
            except PaymentError as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        if process.node.alive:
            self.loop.start(handle(), process.node)
        async with asyncio.timeout(timeout_s):
            return await answer

    async def _buyer(self, number: int) -> None:
        request = PaymentRequest(
            tenant=TENANT,
            amount=1_000 + number,
            currency="GHS",
            payer=Payer(Msisdn.parse("0241234567")),
            reference=f"order {number}",
            expires_in_s=self.scenario.expires_in_s,
        )
        claim = Claim("m_1:test:POST /payments", f"key {number}", b"f" * 32)
        told = await self._insist(number, lambda engine: engine.initiate_payment(request, claim))
        if told is None:
            return
        self.told.append((f"key {number}", told))
        payment_id = msgspec.json.decode(told.body)["id"]
        if self.scenario.passwords:
            # Two devices of one payer, who types on both.
            self._client(self._password_giver(payment_id))
            self._client(self._password_giver(payment_id))
        if self.scenario.late_passwords:
            self._client(self._late_typist(payment_id))
        if self.scenario.cancels:
            await asyncio.sleep(self.random.random() * self.scenario.cancels_within_s)
            with contextlib.suppress(PaymentError, TimeoutError):
                name = f"node_{self.random.randrange(self.scenario.nodes)}"
                await self._on(name, lambda engine: engine.cancel_payment(TENANT, payment_id), 10.0)
        await asyncio.sleep(130)
        repeat = await self._insist(number, lambda engine: engine.initiate_payment(request, claim))
        if repeat is not None:
            self.told.append((f"key {number}", repeat))
        if self.scenario.refunds:
            await self._refund(number, payment_id)

    async def _password_giver(self, payment_id: str) -> None:
        for _ in range(40):
            await asyncio.sleep(0.5 + self.random.random() * 2)
            case = self.order_store.read_payment(payment_id)
            if case is None or case.order.status.is_final:
                return
            if case.order.status is PaymentStatus.REQUIRES_ACTION:
                otp = PASSWORD if self.random.random() < 0.8 else "a wrong one"
                name = f"node_{self.random.randrange(self.scenario.nodes)}"
                with contextlib.suppress(PaymentError, TimeoutError):
                    await self._on(name, lambda engine, o=otp: engine.submit_otp(TENANT, payment_id, o), 6.0)

    async def _late_typist(self, payment_id: str) -> None:
        """Types without looking: the engine has to."""
        for _ in range(20):
            await asyncio.sleep(2 + self.random.random() * 8)
            name = f"node_{self.random.randrange(self.scenario.nodes)}"
            with contextlib.suppress(PaymentError, TimeoutError):
                await self._on(name, lambda engine: engine.submit_otp(TENANT, payment_id, PASSWORD), 6.0)

    async def _sender(self, number: int) -> None:
        request = PayoutRequest(
            tenant=TENANT,
            amount=2_000 + number,
            currency="GHS",
            payee=Payee(Msisdn.parse("0241234567")),
            reference=f"payout {number}",
            expires_in_s=self.scenario.expires_in_s,
        )
        # Two tabs of one merchant: keys of their own, one reference.
        for key in (f"payout key {number}", f"another key {number}"):
            claim = Claim("m_1:test:POST /payouts", key, b"o" * 32)
            with contextlib.suppress(ReferenceAlreadyUsedError):
                told = await self._insist(number, lambda engine, c=claim: engine.pay_out(request, c))
                if told is not None:
                    self.told.append((key, told))
                    await asyncio.sleep(130)
                    repeat = await self._insist(number, lambda engine, c=claim: engine.pay_out(request, c))
                    if repeat is not None:
                        self.told.append((key, repeat))

    async def _screen(self, order: Routed) -> RiskDecision:
        """The fraud service: slow, sometimes away, and of one mind about an order whoever asks."""
        mind = Random(f"{self.scenario.seed} {order.id}")
        outcome = mind.choices((RiskOutcome.ALLOW, RiskOutcome.REVIEW, RiskOutcome.DECLINE), (5, 4, 1))[0]
        await asyncio.sleep(self.random.random() * 3)
        if self.random.random() < 0.2:
            raise ConnectionError
        self.occurrences["screened"] += 1
        if outcome is RiskOutcome.ALLOW:
            self.cleared.add(order.id)
        return RiskDecision(outcome)

    async def _reviewer(self) -> None:
        """Two people who look at what waits for its risk review, and are not always of one mind."""
        for _ in range(30):
            await asyncio.sleep(1 + self.random.random() * 5)
            held = [
                row.order
                for row in self.order_store.rows.values()
                if row.order.status_detail is StatusDetail.RISK_REVIEW and self.random.random() < 0.4
            ]
            for order in held:
                self._client(self._decide(order.id, approves=self.random.random() < 0.6))
                if self.random.random() < 0.3:
                    self._client(self._decide(order.id, approves=self.random.random() < 0.6))

    async def _decide(self, order_id: str, *, approves: bool) -> None:
        kind = OrderKind.PAYOUT if order_id.startswith("po_") else OrderKind.PAYMENT
        name = f"node_{self.random.randrange(self.scenario.nodes)}"
        if approves:
            # Whether or not the answer comes back.
            self.cleared.add(order_id)

        def call(engine: Engine) -> Any:
            decide = engine.reviewing.approve if approves else engine.reviewing.decline
            return decide(order_id, by="somebody", reason="looked at", kind=kind)

        with contextlib.suppress(PaymentError, TimeoutError):
            await self._on(name, call, 6.0)
            self.occurrences["approved" if approves else "declined"] += 1
            if not approves:
                self.declined.add(order_id)

    async def _investigator(self) -> None:
        """Looks at statements of the rails for what is under review, once nothing more can happen to it
        there, and ends it: as succeeded, of what came, or as failed where nothing did."""
        for _ in range(30):
            await asyncio.sleep(20 + self.random.random() * 20)
            for order in [row.order for row in self.order_store.rows.values()]:
                if order.status_detail is StatusDetail.UNDER_REVIEW:
                    await self._resolve(order.id)

    async def _resolve(self, order_id: str) -> None:
        row = self.order_store.rows[order_id]
        booked = [self.rails[a.rail].booked(a.reference) for a in row.attempts.values()]
        if any(b is not None and (b.is_busy or self.loop.time() < b.hidden_until) for b in booked):
            return
        received = max((b.amount for b in booked if b is not None and b.has_moved), default=None)
        outcome = Resolution.FAILED if received is None else Resolution.SUCCEEDED
        kind = {"pa": OrderKind.PAYMENT, "re": OrderKind.REFUND, "po": OrderKind.PAYOUT}[order_id[:2]]
        name = f"node_{self.random.randrange(self.scenario.nodes)}"
        self.resolved[order_id] = outcome

        def call(engine: Engine) -> Any:
            return engine.reviewing.resolve(
                kind, order_id, outcome, by="somebody", evidence="a statement", received=received
            )

        fence = row.order.fence
        try:
            await self._on(name, call, 6.0)
            self.occurrences["resolved"] += 1
        except StateConflictError as refused:
            if row.order.status_detail is StatusDetail.UNDER_REVIEW and row.order.fence == fence:
                self.errors.append(f"unresolved: {order_id} is under review: {refused}")
        except (PaymentError, TimeoutError):
            pass

    async def _refund(self, number: int, payment_id: str) -> None:
        for part in range(2):
            claim = Claim("m_1:test:POST /refunds", f"refund {number}.{part}", b"r" * 32)
            request = RefundRequest(tenant=TENANT, payment_id=payment_id, amount=600)
            with contextlib.suppress(PaymentError):
                told = await self._insist(number, lambda e, r=request, c=claim: e.refund_payment(r, c))
                if told is not None:
                    self.told.append((f"refund {number}.{part}", told))

    async def _insist(self, number: int, call: Callable[[Engine], Any]) -> Reply | None:
        """Ask with the same key, another node each time, until there is an answer."""
        for turn in range(60):
            name = f"node_{(number + turn) % self.scenario.nodes}"
            try:
                return await self._on(name, call, 6.0)
            except TimeoutError:
                continue
            except PaymentError as error:
                if not hasattr(error, "retry_after_s"):
                    raise
                await asyncio.sleep(1.0 + self.random.random())
        return None


@contextlib.contextmanager
def logs_into(errors: list[str], lease_lost: Callable[[Mapping[str, Any]], None] | None = None) -> Any:
    """Keep what the engine calls an error: apart from an unreachable order store there is none to be had.
    `lease_lost` is told of each work that was ended because its lease was lost."""

    def keep(logger: Any, method: str, event: dict[str, Any]) -> Any:
        away = isinstance(event.get("exc_info"), StoreUnavailableError)
        if method == "warning":
            if lease_lost is not None and event["event"] == "lease_lost":
                lease_lost(event)
        elif not away and event.get("error") != "StoreUnavailableError":
            errors.append(f"error: {event} {sys.exception()!r}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(40 if lease_lost is None else 30),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
