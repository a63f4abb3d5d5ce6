"""Puts the engine together from its ports."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from synccash.engine.absent_rail import RailsSetUp
from synccash.engine.attempts import Attempts
from synccash.engine.collect import Collecting
from synccash.engine.decisions import Decisions
from synccash.engine.driver import Driver
from synccash.engine.first_commits import FirstCommits
from synccash.engine.guarded_rail import GuardedRail, NoAccountBook
from synccash.engine.heard import HeardDispatch
from synccash.engine.holding import Holding
from synccash.engine.ledger_clock import LedgerClock, ObservedLedger
from synccash.engine.lessons import Lessons
from synccash.engine.lost_attempts import LostAttempts
from synccash.engine.otp import Passwords
from synccash.engine.patience import Patience
from synccash.engine.payout import PayingOut
from synccash.engine.ports import (
    AccountBook,
    AccountRail,
    CallbackReader,
    Clock,
    Dispatch,
    Doorbell,
    Identities,
    Ledger,
    Rail,
)
from synccash.engine.rail_float import RailFloats
from synccash.engine.rail_health import RailHealth
from synccash.engine.recovery_watch import RecoveryWatch
from synccash.engine.refund import Refunding
from synccash.engine.refund_openings import RefundOpenings
from synccash.engine.replies import Replies
from synccash.engine.review import Reviewing
from synccash.engine.router import Probing, Router
from synccash.engine.screening import Screening
from synccash.engine.scribe import Scribe
from synccash.engine.settings import EngineSettings
from synccash.engine.worker import Worker
from synccash.payments.case import Claim, RefundCase
from synccash.payments.health import HealthSettings
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.references import ReferenceKey
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.payments.risk import NO_PAYOUT_RULES, PayoutRules, RiskRules, RiskWatch
from synccash.payments.routing_rules import NO_RULES as NO_ROUTING
from synccash.payments.routing_rules import RoutingRules

NO_RULES = RiskRules()
PROBING = Probing()
NO_ACCOUNTS = NoAccountBook()
NO_FORMER: Mapping[str, Sequence[Rail]] = MappingProxyType({})
_HEARD_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Engine:
    """Moves payments forward. `start` and `close` frame its life; a worker can share it or run elsewhere."""

    ledger: Ledger
    holding: Holding
    doorbell: Doorbell
    collecting: Collecting
    refunding: Refunding
    reviewing: Reviewing
    paying_out: PayingOut
    passwords: Passwords
    rails: Mapping[str, AccountRail]
    router: Router
    worker: Worker
    clock: LedgerClock
    recovery: RecoveryWatch
    risk: RiskWatch
    hearing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HEARD_AT_ONCE))

    def start(self) -> None:
        """Begin to keep leases. Call it inside the event loop."""
        self.holding.start()

    async def close(self) -> None:
        """Let running sends finish, then stop."""
        await self.holding.close()

    async def initiate_payment(self, request_data: PaymentRequest, idempotency_key: Claim) -> Reply:
        """Collect money once. See Collecting.initiate_payment."""
        await self.clock.follow(self.ledger)
        work = self.collecting.initiate_payment(request_data, idempotency_key)
        return await self.holding.detached(work)

    async def refund_payment(self, request_data: RefundRequest, idempotency_key: Claim) -> Reply:
        """Give money back once. See Refunding.refund_payment."""
        await self.clock.follow(self.ledger)
        work = self.refunding.refund_payment(request_data, idempotency_key)
        return await self.holding.detached(work)

    async def return_surplus(self, payment_id: str, *, by: str, reason: str) -> Sequence[RefundCase]:
        """Give back what came too much. See Refunding.return_surplus."""
        made = await self.refunding.return_surplus(payment_id, by=by, reason=reason)
        self.doorbell.ring()
        return made

    async def pay_out(self, request_data: PayoutRequest, idempotency_key: Claim) -> Reply:
        """Send money once. See PayingOut.pay_out."""
        await self.clock.follow(self.ledger)
        return await self.holding.detached(self.paying_out.pay_out(request_data, idempotency_key))

    async def submit_otp(self, tenant: Tenant, payment_id: str, otp: str) -> bytes:
        """Hand over a payer's one-time password. See Passwords.submit_otp."""
        return await self.holding.detached(self.passwords.submit_otp(tenant, payment_id, otp))

    async def cancel_payment(self, tenant: Tenant, payment_id: str) -> bytes:
        """Call a payment off. See Collecting.cancel_payment."""
        return await self.collecting.cancel_payment(tenant, payment_id)

    async def take_callback(
        self, rail: str, token: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Take a rail's callback as a hint: ask now. What it says is never believed.

        A rail that calls one address of the account says in the body whom it means, and is heard only under
        the account's own token; elsewhere the token names the attempt. Header names in lower case.
        """
        connector = self.rails.get(rail)
        note = (
            connector.read_callback(token, headers or {}, body)
            if isinstance(connector, CallbackReader)
            else None
        )
        failure = note.failure if note else None
        # Anybody may call: whoever calls much waits for himself, and leaves the ledger to those who pay.
        async with self.hearing:
            heard = await self.ledger.hint(token, failure)
            if not heard and note is not None and note.reference is not None:
                heard = await self.ledger.hint_reference(rail, note.reference, failure)
        if heard:
            self.doorbell.ring()


def build_engine(
    *,
    ledger: Ledger,
    rails: Mapping[str, Rail],
    dispatch: Dispatch,
    clock: Clock,
    identities: Identities,
    references: ReferenceKey,
    doorbell: Doorbell,
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
) -> Engine:
    """Wire an engine. Nothing is started and nothing is called.

    `accounts`: which identities of rail accounts are one business's. `former`: connectors with credentials
    that a rail had before, by the rail; they are only used to ask.
    """
    guarded = RailsSetUp(
        {name: GuardedRail(rail, accounts, former.get(name, ())) for name, rail in rails.items()}
    )
    clock = LedgerClock(clock)
    ledger = ObservedLedger(ledger, clock)
    holding = Holding(ledger, clock, settings.lease_s, settings.heartbeat_s)
    health = health or RailHealth(HealthSettings(timeout_s=settings.attempt_timeout_s), clock.monotonic)
    networks = networks or PayerNetworks(clock.now, retention_s=0.0)
    floats = floats or RailFloats(clock.monotonic)
    dispatch = HeardDispatch(dispatch, health, floats)
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
    scribe = Scribe(clock, identities)
    refunds = RefundOpenings(attempts, scribe, clock, identities, settings)
    patience = Patience(guarded, clock, settings)
    recovery = RecoveryWatch(ledger, clock)
    driver = Driver(
        ledger=ledger,
        rails=guarded,
        dispatch=dispatch,
        attempts=attempts,
        scribe=scribe,
        clock=clock,
        settings=settings,
        patience=patience,
        decisions=Decisions(attempts, scribe, clock, settings, patience),
        lessons=Lessons(guarded, health, networks, floats),
        refunds=refunds,
        lost=LostAttempts(guarded, attempts, dispatch, settings.recovery_depth),
        screening=screening,
    )
    replies = Replies(ledger, holding, doorbell, settings.request_deadline_s)
    risk = RiskWatch(rules, payout_rules)
    first = FirstCommits(attempts, scribe, clock, settings, risk, recovery, is_screened=screening is not None)
    parts = (ledger, first, driver, replies, scribe, clock, identities, networks)
    return Engine(
        ledger=ledger,
        holding=holding,
        doorbell=doorbell,
        collecting=Collecting(*parts),
        refunding=Refunding(ledger, attempts, driver, replies, refunds, clock, recovery),
        reviewing=Reviewing(ledger, scribe, doorbell, clock, patience, attempts),
        paying_out=PayingOut(*parts),
        passwords=Passwords(ledger, driver, dispatch, holding, scribe, clock, settings),
        rails=guarded,
        router=router,
        worker=Worker(ledger, driver, holding, doorbell, clock, settings),
        clock=clock,
        recovery=recovery,
        risk=risk,
    )
