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
    AccountCallbackRail,
    AccountRail,
    CallbackReader,
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
        if isinstance(connector, AccountCallbackRail) and connector.is_account_address(token):
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
        origin = self.token_origin(rail, token)
        if origin is TokenOrigin.FOREIGN:
            return False
        connector = self.rails.get(rail)
        note = (
            connector.read_callback(token, headers or {}, body)
            if isinstance(connector, CallbackReader)
            else None
        )
        hint = CallbackHint(
            rail, token, self.references.has_signed(token), reference_of(note.reference if note else None)
        )
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
    guarded = ConfiguredRails(
        {name: GuardedRail(rail, accounts, former.get(name, ())) for name, rail in rails.items()}
    )
    clock = StoreClock(clock)
    ended, acknowledged = EndedOrderCounts(), AcknowledgedCommits(clock.monotonic)
    order_store = ObservedOrderStore(order_store, clock, ended, acknowledged)
    leases = HeldLeases(order_store, clock, settings.lease_s, settings.heartbeat_s)
    health = health or RailHealth(HealthSettings(timeout_s=settings.attempt_timeout_s), clock.monotonic)
    networks = networks or PayerNetworks(clock.now, retention_s=0.0)
    floats = floats or RailFloats(clock.monotonic)
    dispatch = HealthRecordingDispatch(dispatch, health, floats)
    router = Router(
        guarded,
        dispatch,
        health,
        routing,
        probing,
        floats=floats,
        is_unconfirmed=lambda name: guarded[name].is_unconfirmed,
    )
    attempts = Attempts(guarded, router, clock, identities, references, settings.public_url)
    commit_builder = CommitBuilder(clock, identities)
    refunds = RefundOpenings(attempts, commit_builder, clock, identities, settings)
    timing = AttemptTiming(guarded, clock, settings)
    witness = None if witnesses is None else FailoverWitness(witnesses, identities.new("proc"), acknowledged)
    recovery = RecoveryWatch(order_store, clock, witness)
    order_worker = OrderWorker(
        order_store=order_store,
        rails=guarded,
        dispatch=dispatch,
        attempts=attempts,
        commit_builder=commit_builder,
        clock=clock,
        settings=settings,
        timing=timing,
        decisions=Decisions(attempts, commit_builder, clock, settings, timing),
        feedback=OutcomeFeedback(guarded, health, networks, floats),
        refunds=refunds,
        lost=LostAttempts(guarded, attempts, dispatch, settings.recovery_depth),
        screening=screening,
    )
    replies = Replies(order_store, leases, settings.request_deadline_s)
    risk = VelocityCounters(rules, payout_rules)
    first = FirstCommits(
        attempts, commit_builder, clock, settings, risk, recovery, is_screened=screening is not None
    )
    openings = RoutedOpenings(order_store, first, order_worker, replies, clock)
    return Engine(
        order_store=order_store,
        leases=leases,
        work_signal=work_signal,
        references=references,
        collecting=PaymentRequests(
            order_store, openings, commit_builder, timing, clock, identities, networks
        ),
        refunding=RefundRequests(order_store, attempts, order_worker, replies, refunds, clock, recovery),
        reviewing=ReviewRequests(order_store, commit_builder, work_signal, clock, timing, attempts),
        paying_out=PayoutRequests(openings, clock, identities, networks),
        otps=OtpSubmitter(order_store, order_worker, dispatch, leases, commit_builder, clock, settings),
        rails=guarded,
        router=router,
        worker=Worker(order_store, order_worker, leases, work_signal, clock, settings, around_work),
        clock=clock,
        recovery=recovery,
        risk=risk,
        callback_hints=CallbackHints(order_store, work_signal, leases, clock),
        ended=ended,
    )
