"""The fraud service of the sandbox, and what the engine's own screening makes of its faults."""

from dataclasses import replace

import pytest

from payment_samples import PAYMENT, PAYOUT
from sandbox.momo import ask
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.fraud.http import FraudService, FraudServiceError
from synccash.fraud.policy import guarded
from synccash.payments.risk import RiskOutcome
from synccash.rails.http.transport import Transport
from synccash.resilience.profiles import FRAUD_DETECTION
from synccash.resilience.registry import Registry
from synccash.settings.secret import SecretUrl


@pytest.fixture
async def service(world):
    transport = Transport()
    yield FraudService(SecretUrl(world.sandbox.fraud_url), transport, timeout_s=5.0)
    await transport.aclose()


async def faults(world, **given):
    answer = await world.control("PUT", "fraud/faults", given)
    assert answer.status == 200, answer.body


async def questions(world):
    return (await world.control("GET", "fraud/questions")).body["questions"]


@pytest.mark.parametrize(
    ("amount", "number", "decision", "reasons"),
    [
        (2_500, "233241234567", "allow", []),
        (499_999, "233241234567", "allow", []),
        (500_000, "233241234567", "review", ["amount_from_5000_ghs"]),
        (1_000_000, "233241234567", "decline", ["amount_from_10000_ghs"]),
        (2_500, "233241234555", "review", ["number_ends_in_555"]),
        (500_000, "233241234666", "decline", ["amount_from_5000_ghs", "number_ends_in_666"]),
    ],
)
async def test_the_rules_decide_by_amount_and_number(world, session, amount, number, decision, reasons):
    body = {"payment_id": "pay_1", "amount": amount, "msisdn": number}
    for url in (world.sandbox.fraud_url, f"{world.url}/fraud"):
        answer = await ask(session, "POST", url, json=body)
        assert (answer.status, answer.body) == (200, {"decision": decision, "reasons": reasons})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"payment_id":"x"}',
        b'{"payment_id":"x","amount":"1"}',
        b'{"amount":1}',
        b'{"payment_id":"x","payout_id":"y","amount":1}',
    ],
)
async def test_a_question_that_cannot_be_read_is_refused_and_not_logged(world, session, body):
    assert (await ask(session, "POST", world.sandbox.fraud_url, data=body)).status == 422
    assert await questions(world) == []


async def test_the_engine_s_client_is_understood_and_its_question_logged(world, service):
    decision = await service.ask(replace(PAYMENT, amount=500_000))
    assert decision.outcome is RiskOutcome.REVIEW
    assert "fraud:amount_from_5000_ghs" in decision.reasons
    assert await questions(world) == [{"payment_id": PAYMENT.id, "amount": 500_000, "decision": "review"}]


@pytest.mark.parametrize(
    ("fault", "is_logged"),
    [
        ({"error_rate": 1}, False),
        ({"drop": "before_commit"}, False),
        ({"drop": "after_commit"}, True),
        ({"down": True}, False),
        ({"latency_ms": 60_000}, False),
    ],
)
async def test_each_fault_is_no_decision(world, service, fault, is_logged):
    await faults(world, **fault)
    with pytest.raises(FraudServiceError):
        await replace(service, timeout_s=0.3).ask(PAYMENT)
    assert bool(await questions(world)) == is_logged
    assert (await world.control("DELETE", "fraud/faults")).status == 200
    assert (await service.ask(PAYMENT)).outcome is RiskOutcome.ALLOW


async def test_faults_and_questions_outlive_a_restart_and_end_with_a_reset(world, session):
    body = {"payment_id": "pay_1", "amount": 100}
    await ask(session, "POST", world.sandbox.fraud_url, json=body)
    await faults(world, error_rate=1)
    await world.sleep_through(1)
    assert (await ask(session, "POST", world.sandbox.fraud_url, json=body)).status == 500
    assert [asked["payment_id"] for asked in await questions(world)] == ["pay_1"]
    await world.control("POST", "reset")
    assert await questions(world) == []
    assert (await ask(session, "POST", world.sandbox.fraud_url, json=body)).status == 200


async def test_faults_that_cannot_be_are_refused_by_name(world):
    answer = await world.control("PUT", "fraud/faults", {"error_rate": 2, "mood": "bad"})
    assert (answer.status, {error["field"] for error in answer.body["errors"]}) == (
        422,
        {"error_rate", "mood"},
    )


def screening(service, outage):
    """The engine's screening under the profile of fraud services, whose waits pass at once."""

    async def sleep(_seconds):
        return None

    registry = Registry()
    ask = guarded(service, FRAUD_DETECTION, registry.breaker("fraud"), registry.budget("fraud"), sleep=sleep)
    return Screening(ask, outage)


@pytest.mark.parametrize(
    ("outage", "amount", "outcome"),
    [
        (OutagePolicy(), 2_500, RiskOutcome.ALLOW),
        (OutagePolicy(outcome=RiskOutcome.REVIEW), 2_500, RiskOutcome.REVIEW),
        (OutagePolicy(outcome=RiskOutcome.DECLINE), 2_500, RiskOutcome.DECLINE),
        (OutagePolicy(decline_above=2_000), 2_500, RiskOutcome.DECLINE),
        (OutagePolicy(decline_above=2_500), 2_500, RiskOutcome.ALLOW),
    ],
)
async def test_an_outage_follows_the_operator_s_setting(world, service, outage, amount, outcome):
    await faults(world, down=True)
    decision = await screening(service, outage).decide(replace(PAYMENT, amount=amount))
    assert (decision.outcome, decision.reasons) == (outcome, ("fraud_service_unavailable",))


async def test_a_service_that_fails_once_is_asked_again(world, service):
    await faults(world, drop="after_commit")

    async def heal(_seconds):
        await faults(world, drop=None)

    registry = Registry()
    ask = guarded(service, FRAUD_DETECTION, registry.breaker("fraud"), registry.budget("fraud"), sleep=heal)
    assert (await ask(PAYMENT)).outcome is RiskOutcome.ALLOW
    assert len(await questions(world)) == 2
    statistics = registry.budgets()["fraud"].statistics()
    assert (statistics.successes, statistics.retries, statistics.last_attempts) == (1, 1, 2)


async def test_after_five_failures_a_sick_service_is_left_alone(world, service):
    await faults(world, drop="after_commit")
    screen = screening(service, OutagePolicy())
    for _ in range(6):
        await screen.decide(PAYMENT)
    assert len(await questions(world)) == 5


async def test_a_payout_is_asked_about_as_a_payout(world, service):
    decision = await service.ask(replace(PAYOUT, amount=500_000))
    assert (decision.outcome, decision.reasons) == (RiskOutcome.REVIEW, ("fraud:amount_from_5000_ghs",))
    assert await questions(world) == [{"payout_id": "po_1", "amount": 500_000, "decision": "review"}]
