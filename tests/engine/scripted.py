"""Rails with scripted answers, and an engine whose worker steps are run by the test."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec

from synccash.engine.dispatch.guarded_rail import GuardedRail
from synccash.engine.engine import Engine
from synccash.engine.requests.replies import read_order
from synccash.payments.attempt import Attempt
from synccash.payments.case import Case, Claim, Order
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Msisdn, Network, Payer
from synccash.payments.payout import Payee
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    CallbackAddress,
    Capabilities,
    Environment,
    Operation,
    OperationCapability,
    RailAccount,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Tenant
from synccash.resilience.evidence import Evidence
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.pool import Pool

TENANT = Tenant("m_1", livemode=False)
ACCEPTED = SendAnswer(evidence=Evidence.ACCEPTED)
UNREACHABLE = SendAnswer(
    evidence=Evidence.NOT_SENT, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
NO_ANSWER = SendAnswer(evidence=Evidence.AMBIGUOUS)
PENDING = StatusAnswer(status_at_rail=RailStatus.PENDING)
SUCCEEDED = StatusAnswer(status_at_rail=RailStatus.SUCCEEDED)
NOT_FOUND = StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
FAILED = StatusAnswer(
    status_at_rail=RailStatus.FAILED, failure=Failure(FailureCode.PROVIDER_ERROR, reroute=True)
)


class ScriptedRail:
    """Sends are answered from `answers`, the last one again and again; inquiries with `standing`, or with
    `standings` by reference."""

    def __init__(self, name: str, *, otp: bool = False, refund_key: bool = True) -> None:
        self.name = name
        able = OperationCapability(dedup_by_reference=True, otp=otp)
        refunding = OperationCapability(dedup_by_reference=refund_key)
        self.capabilities = Capabilities(
            networks=frozenset(Network),
            operations={Operation.COLLECT: able, Operation.REFUND: refunding, Operation.PAYOUT: able},
            callback_address=CallbackAddress.PER_REQUEST,
        )
        self.account = RailAccount(rail=name, account="main", base_url="http://x", target_environment="t")
        self.environment = Environment.TEST
        self.answers: list[SendAnswer] = [ACCEPTED]
        self.status_at_rail: StatusAnswer = PENDING
        self.standings: dict[str, StatusAnswer] = {}
        self.sent: list[SendOrder] = []
        self.asked: list[tuple[str, AttemptDetails]] = []
        self.passwords: list[tuple[str, str]] = []
        self.otp_answer: SendAnswer = ACCEPTED

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        del timeout_s
        self.sent.append(order)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        del account, operation, timeout_s
        self.asked.append((reference, details))
        return self.standings.get(reference, self.status_at_rail)

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        del account, timeout_s
        self.passwords.append((reference, otp))
        return self.otp_answer


@dataclass(repr=False)
class Desk:
    """What a test has before it."""

    engine: Engine
    pool: Pool
    first: ScriptedRail
    second: ScriptedRail
    keys: int = field(default=0)

    @property
    def rails(self) -> Sequence[ScriptedRail]:
        """All rails of the engine."""
        guarded = cast("Sequence[GuardedRail]", list(self.engine.rails.values()))
        return [cast("ScriptedRail", rail.connector) for rail in guarded]

    def _claim(self, scope: str) -> Claim:
        self.keys += 1
        return Claim(f"m_1:test:{scope}", f"key {self.keys}", b"f" * 32)

    async def pay(self, reference: str = "order 1", **changes: Any) -> dict[str, Any]:
        request = PaymentRequest(
            tenant=TENANT,
            amount=1000,
            currency="GHS",
            reference=reference,
            **{"payer": Payer(Msisdn.parse("0241234567")), **changes},
        )
        return msgspec.json.decode((await self.engine.initiate_payment(request, self._claim("pay"))).body)

    async def pay_out(self, reference: str = "wages 1", **changes: Any) -> dict[str, Any]:
        payee = Payee(Msisdn.parse("0241234567"), name="Ama")
        request = PayoutRequest(
            tenant=TENANT, currency="GHS", reference=reference, **{"payee": payee, "amount": 700, **changes}
        )
        return msgspec.json.decode((await self.engine.pay_out(request, self._claim("payout"))).body)

    async def refund(self, payment_id: str, amount: int) -> dict[str, Any]:
        request = RefundRequest(tenant=TENANT, payment_id=payment_id, amount=amount)
        return msgspec.json.decode((await self.engine.refund_payment(request, self._claim("refund"))).body)

    async def case(self, order_id: str) -> Case:
        """The order as it now stands, of any kind."""
        case = await read_order(self.engine.order_store, order_id)
        assert case is not None
        return case

    async def order(self, order_id: str) -> Order:
        """The same without its attempts."""
        return (await self.case(order_id)).order

    async def rail_pays_late(self, rail: ScriptedRail, attempt: Attempt, **changes: Any) -> None:
        """A closed attempt moves money after all: its rail says so, and calls back."""
        rail.standings[attempt.reference] = replace(SUCCEEDED, **changes)
        await self.engine.take_callback(rail.name, attempt.callback_token)
        await self.work()

    async def contradictions(self) -> list[str]:
        """The kinds of all contradictions, in the order in which they were recorded."""
        found = await self.pool.fetch("SELECT kind FROM contradictions ORDER BY recorded_at")
        return [row["kind"] for row in found]

    async def waiting(self) -> list[tuple[str, str]]:
        """What waits for a human: the id of the order, and why."""
        found = await PostgresWaiting(Database(self.pool)).oldest(10)
        return [(row["id"], row["why"]) for row in found]

    async def work(self, limit: int = 10) -> list[str]:
        """Advance up to `limit` orders that are due now, once, and say which."""
        await self.pool.execute("UPDATE payments SET due_at = now() WHERE due_at IS NOT NULL AND NOT hinted")
        await self.pool.execute("UPDATE refunds SET due_at = now() WHERE due_at IS NOT NULL AND NOT hinted")
        await self.pool.execute("UPDATE payouts SET due_at = now() WHERE due_at IS NOT NULL AND NOT hinted")
        cases: list[Case] = list(await self.engine.order_store.take_due(limit=limit, lease_s=15.0))
        for case in cases:
            await self.engine.worker.order_worker.advance(case)
        return [case.attempts[0].order_id if case.attempts else "" for case in cases]
