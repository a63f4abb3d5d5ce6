"""The engine's facade, and the function that builds it from its ports."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from synccash.engine.acknowledged_commits import AcknowledgedCommits
from synccash.engine.callback_hints import CallbackHint, CallbackHints, reference_of
from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.dispatch.absent_rail import ConfiguredRails
from synccash.engine.dispatch.guarded_rail import GuardedRail, NoAccountBook
from synccash.engine.dispatch.health_recording import HealthRecordingDispatch
from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.dispatch.router import Probing, Router
from synccash.engine.ended_orders import EndedOrderCounts
from synccash.engine.leases import HeldLeases
from synccash.engine.ports import (
    AccountBook,
    AccountRail,
    Dispatch,
    OrderStore,
    Rail,
)
from synccash.engine.progress.attempt_timing import AttemptTiming
from synccash.engine.progress.attempts import Attempts
from synccash.engine.progress.decisions import Decisions
from synccash.engine.progress.lost_attempts import LostAttempts
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.progress.outcome_feedback import OutcomeFeedback
from synccash.engine.progress.refund_openings import RefundOpenings
from synccash.engine.progress.screening import Screening
from synccash.engine.recovery_watch import FailoverWitness, RecoveryWatch, Witnesses
from synccash.engine.requests.collect import PaymentRequests
from synccash.engine.requests.first_commits import FirstCommits
from synccash.engine.requests.openings import RoutedOpenings
from synccash.engine.requests.otp import OtpSubmitter
from synccash.engine.requests.payout import PayoutRequests
from synccash.engine.requests.refund import RefundRequests
from synccash.engine.requests.replies import Replies
from synccash.engine.requests.review import ReviewRequests
from synccash.engine.settings import EngineSettings
from synccash.engine.store_clock import ObservedOrderStore, StoreClock
from synccash.engine.worker import Worker, no_context
from synccash.payments.case import Case, Claim, RefundCase
from synccash.payments.health import HealthSettings
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payment import Payment
from synccash.payments.ports import Clock, Identities, WorkSignal
from synccash.payments.references import ReferenceKey
from synccash.payments.request import (
    UNKNOWN_ORIGIN,
    Origin,
    PaymentRequest,
    PayoutRequest,
    RefundRequest,
    Reply,
    Tenant,
)
from synccash.payments.risk import NO_PAYOUT_RULES, PayoutRules, RiskRules, VelocityCounters
from synccash.payments.routing_rules import NO_RULES as NO_ROUTING
from synccash.payments.routing_rules import RoutingRules

NO_RULES = RiskRules()
PROBING = Probing()
NO_ACCOUNTS = NoAccountBook()
NO_FORMER: Mapping[str, Sequence[Rail]] = MappingProxyType({})
_UNSIGNED_TOKEN_CHARS = 43
"""The length of the tokens of releases that did not sign them; their attempts may still get callbacks."""


class TokenOrigin(Enum):
    """Where the token of a callback may come from."""

    OURS = "ours"
    """This installation signed it, or it is that of a rail account."""
    UNSIGNED = "unsigned"
    """A former release may have made it; only the order store can tell."""
    FOREIGN = "foreign"
    """This installation cannot have made it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Accepts requests and moves orders forward. Call `start` first and `close` last. A worker can run in the
    same process or in another."""

    order_store: OrderStore
    leases: HeldLeases
    work_signal: WorkSignal
    references: ReferenceKey
    collecting: PaymentRequests
    refunding: RefundRequests
    reviewing: ReviewRequests
    paying_out: PayoutRequests
    otps: OtpSubmitter
    rails: Mapping[str, AccountRail]
    router: Router
    worker: Worker
    clock: StoreClock
    recovery: RecoveryWatch
    risk: VelocityCounters
    callback_hints: CallbackHints
    ended: EndedOrderCounts

    def start(self) -> None:
        """Start to renew leases. Call it inside the event loop."""
        self.leases.start()

    async def close(self) -> None:
        """Wait for running sends, then stop."""
        await self.leases.close()

    async def initiate_payment(self, request_data: PaymentRequest, idempotency_key: Claim) -> Reply:
        """Collect money once. See PaymentRequests.initiate_payment."""
        await self.clock.follow(self.order_store)
        work = self.collecting.initiate_payment(request_data, idempotency_key)
        return await self.leases.run_detached(work)

    async def refund_payment(self, request_data: RefundRequest, idempotency_key: Claim) -> Reply:
        """Refund a payment once. See RefundRequests.refund_payment."""
        await self.clock.follow(self.order_store)
        work = self.refunding.refund_payment(request_data, idempotency_key)
        return await self.leases.run_detached(work)

    async def return_surplus(
        self, payment_id: str, *, by: str, reason: str, origin: Origin = UNKNOWN_ORIGIN
    ) -> Sequence[RefundCase]:
        """Refund surplus money. See RefundRequests.return_surplus."""
        refunds = await self.refunding.return_surplus(payment_id, by=by, reason=reason, origin=origin)
        self.work_signal.notify()
        return refunds

    async def pay_out(self, request_data: PayoutRequest, idempotency_key: Claim) -> Reply:
        """Send money once. See PayoutRequests.pay_out."""
        await self.clock.follow(self.order_store)
        return await self.leases.run_detached(self.paying_out.pay_out(request_data, idempotency_key))

    async def submit_otp(
        self,
        tenant: Tenant,
        payment_id: str,
        otp: str,
        admit: Callable[[Payment], Awaitable[None]] | None = None,
    ) -> bytes:
        """Submit a payer's one-time password. See OtpSubmitter.submit_otp."""
        return await self.leases.run_detached(self.otps.submit_otp(tenant, payment_id, otp, admit))

    async def cancel_payment(self, tenant: Tenant, payment_id: str) -> bytes:
        """Cancel a payment. See PaymentRequests.cancel_payment."""
        return await self.collecting.cancel_payment(tenant, payment_id)

    def token_origin(self, rail: str, token: str) -> TokenOrigin:
        """Return where the token of a callback may come from, without any query."""
        if self.references.has_signed(token):
            return TokenOrigin.OURS
        connector = self.rails.get(rail)
        if connector is not None and connector.is_account_address(token):
            return TokenOrigin.OURS
        return TokenOrigin.UNSIGNED if len(token) == _UNSIGNED_TOKEN_CHARS else TokenOrigin.FOREIGN

    async def take_callback(
        self, rail: str, token: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> bool:
        """Treat a rail's callback as a hint to ask the rail now. Its content is never trusted. Returns False
        when it belongs to no attempt.

        `token` names the attempt. Where a rail calls one address for the whole account, the body names the
        attempt instead, and the token must be the account's own. Header names are in lower case. A token that
        this installation cannot have made is not looked up. Callbacks of one attempt are joined if many come.
        """
        is_signed = self.references.has_signed(token)
        origin = TokenOrigin.OURS if is_signed else self.token_origin(rail, token)
        if origin is TokenOrigin.FOREIGN:
            return False
        connector = self.rails.get(rail)
        note = None if connector is None else connector.read_callback(token, headers or {}, body)
        hint = CallbackHint(rail, token, is_signed, reference_of(note.reference if note else None))
        failure = note.failure if note else None
        return await self.callback_hints.take(hint, failure, is_ours=origin is TokenOrigin.OURS)


def build_engine(
    *,
    order_store: OrderStore,
    rails: Mapping[str, Rail],
    dispatch: Dispatch,
    clock: Clock,
    identities: Identities,
    references: ReferenceKey,
    work_signal: WorkSignal,
    settings: EngineSettings,
    rules: RiskRules = NO_RULES,
    payout_rules: PayoutRules = NO_PAYOUT_RULES,
    screening: Screening | None = None,
    health: RailHealth | None = None,
    routing: RoutingRules = NO_ROUTING,
    probing: Probing = PROBING,
    networks: PayerNetworks | None = None,
    floats: RailFloats | None = None,
    accounts: AccountBook = NO_ACCOUNTS,
    former: Mapping[str, Sequence[Rail]] = NO_FORMER,
    witnesses: Witnesses | None = None,
    around_work: Callable[[Case], AbstractContextManager[None]] = no_context,
) -> Engine:
    """Build an engine. Starts nothing and calls nothing.

    `accounts`: tells which identities of rail accounts belong to the same business. `former`: by rail,
    connectors with the rail's former credentials; they are used only for inquiries and callbacks.
    `witnesses`: where the processes tell whether a failover has lost commits.
    `around_work`: see Worker.
    """
    clock = StoreClock(clock)
    ended, acknowledged = EndedOrderCounts(), AcknowledgedCommits(clock.monotonic)
    health = health or RailHealth(HealthSettings(timeout_s=settings.attempt_timeout_s), clock.monotonic)
    networks = networks or PayerNetworks(clock.now, retention_s=0.0)
    floats = floats or RailFloats(clock.monotonic)
    order_store = ObservedOrderStore(order_store, clock, ended, acknowledged)
    dispatch = HealthRecordingDispatch(dispatch, health, floats)
    guarded = _guard_rails(rails, accounts, former)
    router = _build_router(guarded, dispatch, health, routing, probing, floats)
    witness = None if witnesses is None else FailoverWitness(witnesses, identities.new("proc"), acknowledged)
    attempts = Attempts(guarded, router, clock, identities, references, settings.public_url)
    commit_builder = CommitBuilder(clock, identities)
    parts = _Parts(
        order_store=order_store,
        rails=guarded,
        dispatch=dispatch,
        clock=clock,
        identities=identities,
        references=references,
        work_signal=work_signal,
        settings=settings,
        router=router,
        leases=HeldLeases(order_store, clock, settings.lease_s, settings.heartbeat_s),
        attempts=attempts,
        commit_builder=commit_builder,
        refunds=RefundOpenings(attempts, commit_builder, clock, identities, settings),
        timing=AttemptTiming(guarded, clock, settings),
        feedback=OutcomeFeedback(guarded, health, networks, floats),
        networks=networks,
        screening=screening,
        recovery=RecoveryWatch(order_store, clock, witness),
        risk=VelocityCounters(rules, payout_rules),
        ended=ended,
    )
    return _build_facade(parts, around_work)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of an engine that several others use."""

    order_store: ObservedOrderStore
    rails: ConfiguredRails
    dispatch: HealthRecordingDispatch
    clock: StoreClock
    identities: Identities
    references: ReferenceKey
    work_signal: WorkSignal
    settings: EngineSettings
    router: Router
    leases: HeldLeases
    attempts: Attempts
    commit_builder: CommitBuilder
    refunds: RefundOpenings
    timing: AttemptTiming
    feedback: OutcomeFeedback
    networks: PayerNetworks
    screening: Screening | None
    recovery: RecoveryWatch
    risk: VelocityCounters
    ended: EndedOrderCounts


def _guard_rails(
    rails: Mapping[str, Rail], accounts: AccountBook, former: Mapping[str, Sequence[Rail]]
) -> ConfiguredRails:
    return ConfiguredRails(
        {name: GuardedRail(rail, accounts, former.get(name, ())) for name, rail in rails.items()}
    )


def _build_router(
    rails: ConfiguredRails,
    dispatch: Dispatch,
    health: RailHealth,
    routing: RoutingRules,
    probing: Probing,
    floats: RailFloats,
) -> Router:
    return Router(
        rails,
        dispatch,
        health,
        routing,
        probing,
        floats=floats,
        is_unconfirmed=lambda name: rails[name].is_unconfirmed,
    )


def _build_order_worker(parts: _Parts) -> OrderWorker:
    attempts, commit_builder, settings = parts.attempts, parts.commit_builder, parts.settings
    return OrderWorker(
        order_store=parts.order_store,
        rails=parts.rails,
        dispatch=parts.dispatch,
        attempts=attempts,
        commit_builder=commit_builder,
        clock=parts.clock,
        settings=settings,
        timing=parts.timing,
        decisions=Decisions(attempts, commit_builder, parts.clock, settings, parts.timing),
        feedback=parts.feedback,
        refunds=parts.refunds,
        lost=LostAttempts(parts.rails, attempts, parts.dispatch, settings.recovery_depth),
        screening=parts.screening,
    )


def _build_openings(parts: _Parts, order_worker: OrderWorker, replies: Replies) -> RoutedOpenings:
    first = FirstCommits(
        parts.attempts,
        parts.commit_builder,
        parts.clock,
        parts.settings,
        parts.risk,
        parts.recovery,
        is_screened=parts.screening is not None,
    )
    return RoutedOpenings(parts.order_store, first, order_worker, replies, parts.clock)


def _build_facade(parts: _Parts, around_work: Callable[[Case], AbstractContextManager[None]]) -> Engine:
    store, leases, signal, settings = parts.order_store, parts.leases, parts.work_signal, parts.settings
    clock, identities, builder, timing = parts.clock, parts.identities, parts.commit_builder, parts.timing
    attempts, recovery, networks = parts.attempts, parts.recovery, parts.networks
    replies, worker = Replies(store, leases, settings.request_deadline_s), _build_order_worker(parts)
    openings = _build_openings(parts, worker, replies)
    return Engine(
        order_store=store,
        leases=leases,
        work_signal=signal,
        references=parts.references,
        collecting=PaymentRequests(store, openings, builder, timing, clock, identities, networks),
        refunding=RefundRequests(store, attempts, worker, replies, parts.refunds, clock, recovery),
        reviewing=ReviewRequests(store, builder, signal, clock, timing, attempts),
        paying_out=PayoutRequests(openings, clock, identities, networks),
        otps=OtpSubmitter(store, worker, parts.dispatch, leases, builder, clock, settings),
        rails=parts.rails,
        router=parts.router,
        worker=Worker(store, worker, leases, signal, clock, settings, around_work),
        clock=clock,
        recovery=recovery,
        risk=parts.risk,
        callback_hints=CallbackHints(store, signal, leases, clock),
        ended=parts.ended,
    )
