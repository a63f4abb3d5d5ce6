"""Every answer that MTN is known to give, and that no answer at all claims more than it proves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.failure import FailureCode, WhoseProblem
from synccash.payments.rail import NO_ATTEMPT_DETAILS, AttemptDetails, NextActionType, Operation, RailStatus
from synccash.rails.answers import pesewas
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault
from synccash.rails.mtn_momo.answers import REASONS, STILL_GOING, judge_send, judge_status
from synccash.resilience.evidence import Evidence

COLLECT, REFUND, PAYOUT = Operation.COLLECT, Operation.REFUND, Operation.PAYOUT
OURS = "0b9ff1a4-6ea6-4b13-8b5b-2b2b2b2b2b2b"
OTHERS = "11111111-1111-4111-8111-111111111111"
HTML = b"<html><body>Request Rejected - Support ID: 7301</body></html>"
CODES = {code for reasons in REASONS.values() for code in reasons} | STILL_GOING
CODES |= {"BAD_REQUEST", "RESOURCE_ALREADY_EXIST"}
SHAPES = {
    "nothing": b"",
    "blanks": b" \r\n",
    "web page": HTML,
    "broken": b'{"code":"NOT_ALLOWED"',
    "a list": b'[{"code":"NOT_ALLOWED"}]',
    "text": b'"NOT_ALLOWED"',
    "null": b"null",
    "an empty object": b"{}",
    "an unknown code": b'{"code":"SOMETHING_NEW","message":"?"}',
    "a code that is no text": b'{"code":{"code":"NOT_ALLOWED"}}',
    "the gateway's": b'{"statusCode":401,"message":"Access denied"}',
    **{code: msgspec.json.encode({"code": code, "message": "?"}) for code in sorted(CODES)},
}
STATUSES = [*range(200, 209), *range(400, 432), 451, 499, *range(500, 512), 599]


def said(status, body=b"", **headers):
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Exchange(status=status, headers=headers, body=encoded, latency_s=0.0)


def sent(status, body=b"", operation=COLLECT, **headers):
    return judge_send(said(status, body, **headers), operation)


def stands(body, status=200, operation=COLLECT, currency="GHS", details=NO_ATTEMPT_DETAILS):
    """How MTN's answer stands; unless it says otherwise, it repeats our reference, as MTN does."""
    named = {"externalId": OURS} | body if isinstance(body, dict) else body
    return judge_status(said(status, named), operation, OURS, currency, details)


# Sends.


@pytest.mark.parametrize(
    ("status", "body", "evidence", "code"),
    [
        (202, b"", Evidence.ACCEPTED, None),
        (202, {}, Evidence.ACCEPTED, None),
        (409, {"code": "RESOURCE_ALREADY_EXIST"}, Evidence.ACCEPTED, None),
        (500, {"code": "RESOURCE_ALREADY_EXIST"}, Evidence.ACCEPTED, None),
        (400, {"code": "BAD_REQUEST"}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ERROR),
        (400, b"", Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ERROR),
        (500, {"code": "NOT_ALLOWED"}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (
            500,
            {"code": "NOT_ALLOWED_TARGET_ENVIRONMENT"},
            Evidence.REFUSED_FINAL,
            FailureCode.PROVIDER_ACCOUNT_BLOCKED,
        ),
        (
            500,
            {"code": "INVALID_CALLBACK_URL_HOST"},
            Evidence.REFUSED_FINAL,
            FailureCode.PROVIDER_ACCOUNT_BLOCKED,
        ),
        (500, {"code": "INVALID_CURRENCY"}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (500, {"code": "PAYER_NOT_FOUND"}, Evidence.REFUSED_FINAL, FailureCode.INVALID_PAYER),
        (503, {"code": "SERVICE_UNAVAILABLE"}, Evidence.REFUSED_LATER, FailureCode.PROVIDER_UNAVAILABLE),
        (500, {"code": "INTERNAL_PROCESSING_ERROR"}, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (401, {"statusCode": 401}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, {"message": "FORBIDDEN IP"}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, {"code": "FORBIDDEN_IP"}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (404, {"statusCode": 404}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (429, {"statusCode": 429}, Evidence.REFUSED_LATER, FailureCode.PROVIDER_UNAVAILABLE),
        (403, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (400, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (409, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (503, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (503, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (500, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (500, {"code": "EXPIRED"}, Evidence.AMBIGUOUS, FailureCode.PAYER_TIMEOUT),
        (500, {"code": "ONGOING"}, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (502, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (202, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (400, {"code": "SOMETHING_NEW"}, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (408, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
    ],
)
def test_what_an_answer_to_a_send_proves(status, body, evidence, code):
    answer = sent(status, body)
    assert (answer.evidence, answer.failure and answer.failure.code) == (evidence, code)
    assert answer.http_status == status


def test_an_accepted_collection_tells_the_payer_what_to_do():
    assert sent(202).next_action.type is NextActionType.APPROVE_ON_PHONE
    assert sent(202, operation=REFUND).next_action is None
    assert sent(202, operation=PAYOUT).next_action is None


def test_a_reference_that_mtn_knows_is_accepted_as_a_duplicate():
    answer = sent(409, {"code": "RESOURCE_ALREADY_EXIST"})
    assert (answer.duplicate, answer.provider_code) == (True, "RESOURCE_ALREADY_EXIST")


def test_the_wait_that_mtn_asks_for_is_handed_on():
    assert sent(429, {}, **{"Retry-After": "7"}).retry_after_s == 7.0
    for strange in ("", "-1", "soon", "1.5", "9999999", "Wed, 21 Oct 2026 07:28:00 GMT", "٧"):
        assert sent(429, {}, **{"Retry-After": strange}).retry_after_s is None


@pytest.mark.parametrize("evidence", [Evidence.NOT_SENT, Evidence.AMBIGUOUS])
def test_without_an_answer_the_transport_s_evidence_stands(evidence):
    failure = TransportFailure(evidence=evidence, fault=TransportFault.TIMEOUT, latency_s=1.0)
    answer = judge_send(failure, COLLECT)
    assert (answer.evidence, answer.provider_code) == (evidence, "timeout")
    assert answer.failure.code is FailureCode.PROVIDER_UNAVAILABLE
    assert judge_status(failure, COLLECT, OURS, "GHS").status_at_rail is RailStatus.NO_INFORMATION


PROOFS = {400, 401, 403, 404, 429}
PROOF_CODES = (CODES | {"BAD_REQUEST"}) - STILL_GOING
PROOF_CODES -= {"RESOURCE_ALREADY_EXIST", "INTERNAL_PROCESSING_ERROR", "COULD_NOT_PERFORM_TRANSACTION"}
PROOF_CODES -= {"PAYMENT_NOT_APPROVED", "APPROVAL_REJECTED", "TRANSACTION_CANCELED", "EXPIRED"}


def is_backed(answer, exchange):
    """Whether the claim that nothing happened rests on a published refusal."""
    body = exchange.json_object()
    code = None if body is None else body.get("code")
    legible = body is not None or not exchange.body.strip()
    by_code = exchange.status >= 400 and isinstance(code, str) and code in PROOF_CODES
    return by_code or (legible and exchange.status in PROOFS)


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("status", STATUSES)
def test_every_status_with_every_body_has_an_evidence_and_none_claims_too_much(status, operation):
    for shape, body in SHAPES.items():
        exchange = said(status, body)
        answer = judge_send(exchange, operation)
        if answer.evidence is Evidence.ACCEPTED:
            assert status == 202 or (status >= 400 and shape == "RESOURCE_ALREADY_EXIST"), (status, shape)
            assert answer.failure is None
        else:
            assert answer.failure is not None
        if answer.evidence.proves_nothing_happened:
            assert is_backed(answer, exchange), (status, shape)
        judge_status(exchange, operation, OURS, "GHS")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
words = st.sampled_from([*sorted(CODES), "SUCCESSFUL", "FAILED", "PENDING", "payer_not_found", "", "?"])
objects = st.fixed_dictionaries(
    {},
    optional={
        "code": words | json_values,
        "status": words | json_values,
        "reason": words | st.fixed_dictionaries({"code": words | json_values}) | json_values,
        "amount": st.sampled_from(["25.00", "1e3", "-1", "NaN", "0.001"]) | json_values,
        "currency": st.sampled_from(["GHS", "EUR"]) | json_values,
        "externalId": st.just(OURS) | json_values,
        "financialTransactionId": json_values,
    },
)
bodies = st.binary(max_size=60) | objects.map(msgspec.json.encode) | json_values.map(msgspec.json.encode)
# Answers in which one or two members differ from a right one: by chance alone nearly none comes that close.
near_answers = st.fixed_dictionaries(
    {"status": st.sampled_from(["SUCCESSFUL", "FAILED", "PENDING"])},
    optional={
        "externalId": st.sampled_from([OURS, OURS, "another", 7]),
        "currency": st.sampled_from(["GHS", "EUR"]),
        "code": st.sampled_from(["RESOURCE_NOT_FOUND", "PAYER_NOT_FOUND", "RESOURCE_ALREADY_EXIST"]),
    },
).map(msgspec.json.encode)
near_statuses = st.sampled_from([200, 200, 202, 404, 500])
# Each known status as often as all others together: from 500 statuses alone hardly an example is a known one.
statuses = st.sampled_from([200, 202, 400, 401, 403, 404, 409, 429, 500, 503]) | st.integers(100, 599)
answers = st.tuples(statuses, bodies) | st.tuples(near_statuses, near_answers)


@given(
    answers,
    st.dictionaries(st.sampled_from(["Retry-After", "Date"]), st.text(max_size=9)),
)
def test_no_answer_makes_a_send_raise_or_claim_more_than_it_proves(answer, headers):
    status, body = answer
    exchange = Exchange(status=status, headers=headers, body=body, latency_s=0.0)
    for operation in Operation:
        answer = judge_send(exchange, operation)
        if answer.evidence.proves_nothing_happened:
            assert is_backed(answer, exchange)
        if answer.evidence is Evidence.ACCEPTED:
            assert status == 202 or b"RESOURCE_ALREADY_EXIST" in body
        if answer.provider_code is not None:
            assert len(answer.provider_code) <= 64


@given(answers)
def test_no_answer_makes_an_inquiry_raise_or_claim_more_than_it_says(answer):
    status, body = answer
    exchange = Exchange(status=status, headers={}, body=body, latency_s=0.0)
    for operation in Operation:
        answer = judge_status(exchange, operation, OURS, "GHS")
        decoded = exchange.json_object() or {}
        if answer.status_at_rail in (RailStatus.SUCCEEDED, RailStatus.FAILED, RailStatus.PENDING):
            assert status == 200
        if answer.status_at_rail in (RailStatus.SUCCEEDED, RailStatus.FAILED, RailStatus.PENDING):
            assert decoded["externalId"] == answer.reference == OURS
        if answer.status_at_rail is RailStatus.SUCCEEDED:
            assert decoded["status"] == "SUCCESSFUL"
            assert decoded.get("currency", "GHS") == "GHS"
        if answer.status_at_rail is RailStatus.FAILED:
            assert decoded["status"] == "FAILED"
            assert answer.failure is not None
        if answer.status_at_rail is RailStatus.NOT_FOUND:
            assert (status, decoded["code"]) == (404, "RESOURCE_NOT_FOUND")


# Inquiries.


def test_a_success_names_its_amount_and_transaction():
    answer = stands(
        {"status": "SUCCESSFUL", "amount": "25.05", "currency": "GHS", "financialTransactionId": "61"}
    )
    assert (answer.status_at_rail, answer.amount) == (RailStatus.SUCCEEDED, 2505)
    assert (answer.provider_transaction_id, answer.currency, answer.reference) == ("61", "GHS", OURS)
    unnamed = stands({"status": "SUCCESSFUL"})
    assert (unnamed.amount, unnamed.currency) == (None, None)


@pytest.mark.parametrize("operation", [COLLECT, REFUND, PAYOUT])
@pytest.mark.parametrize("word", ["SUCCESSFUL", "PENDING", "FAILED"])
@pytest.mark.parametrize("named", [OTHERS, "", 7, {"id": OURS}])
def test_an_answer_that_repeats_another_reference_says_nothing(operation, word, named):
    body = {"status": word, "externalId": named, "amount": "10.00", "payer": {"partyId": "233241234567"}}
    details = AttemptDetails(amount=1000, msisdn="233241234567")
    answer = stands(body, operation=operation, details=details)
    assert (answer.status_at_rail, answer.provider_code) == (RailStatus.NO_INFORMATION, "other_reference")
    assert answer.reference != OURS


@pytest.mark.parametrize("party", ["payer", "payee"])
@pytest.mark.parametrize(
    ("changes", "known", "is_believed"),
    [
        ({}, {}, True),
        ({"number": "+233241234567"}, {}, True),
        ({"number": "233201234567"}, {}, False),
        ({"amount": "10.01"}, {}, False),
        ({"amount": None}, {}, False),
        ({}, {"amount": None}, False),
        ({}, {"msisdn": None}, False),
    ],
)
def test_an_answer_without_a_reference_counts_where_wallet_and_amount_agree(
    party, changes, known, is_believed
):
    said_of = {"number": "233241234567", "amount": "10.00"} | changes
    body = {
        "status": "SUCCESSFUL",
        "externalId": None,
        "amount": said_of["amount"],
        party: {"partyIdType": "MSISDN", "partyId": said_of["number"]},
    }
    details = AttemptDetails(**{"amount": 1000, "msisdn": "233241234567"} | known)
    answer = stands(body, details=details)
    if is_believed:
        assert (answer.status_at_rail, answer.reference) == (RailStatus.SUCCEEDED, None)
    else:
        assert (answer.status_at_rail, answer.provider_code) == (
            RailStatus.NO_INFORMATION,
            "unnamed_reference",
        )


def test_an_answer_about_no_wallet_and_no_reference_says_nothing():
    body = {"status": "SUCCESSFUL", "externalId": None, "amount": "10.00"}
    assert stands(body, details=AttemptDetails(amount=1000)).status_at_rail is RailStatus.NO_INFORMATION


def test_the_euros_of_mtn_s_own_sandbox_are_told_as_cedis():
    body = {"status": "SUCCESSFUL", "amount": "25.05", "currency": "EUR"}
    answer = stands(body, currency="EUR")
    assert (answer.status_at_rail, answer.amount, answer.currency) == (RailStatus.SUCCEEDED, 2505, "GHS")


@pytest.mark.parametrize(
    "changes", [{"amount": "much"}, {"currency": "EUR"}, {"amount": []}, {"amount": True}]
)
def test_a_success_over_money_that_cannot_be_read_is_no_information(changes):
    body = {"status": "SUCCESSFUL", "amount": "25.05", "currency": "GHS"} | changes
    assert stands(body).status_at_rail is RailStatus.NO_INFORMATION


def test_a_pending_collection_still_waits_for_the_payer():
    answer = stands({"status": "PENDING"})
    assert (answer.status_at_rail, answer.next_action.type) == (
        RailStatus.PENDING,
        NextActionType.APPROVE_ON_PHONE,
    )
    assert stands({"status": "PENDING"}, operation=REFUND).next_action is None


@pytest.mark.parametrize("shape", [str, lambda code: {"code": code, "message": "words"}])
@pytest.mark.parametrize(
    ("operation", "reason", "code", "reroute"),
    [
        (operation, reason, code, reroute)
        for operation, reasons in REASONS.items()
        for reason, (code, reroute) in reasons.items()
    ],
)
def test_every_reason_of_a_failure_is_known_as_text_and_as_object(operation, reason, code, reroute, shape):
    answer = stands({"status": "FAILED", "reason": shape(reason)}, operation=operation)
    assert answer.status_at_rail is RailStatus.FAILED
    assert (answer.failure.code, answer.failure.reroute) == (code, reroute)
    assert answer.failure.provider_code == reason


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("PAYER_NOT_FOUND", FailureCode.INVALID_PAYER),
        ("NOT_ENOUGH_FUNDS", FailureCode.INSUFFICIENT_FUNDS),
        ("PAYER_LIMIT_REACHED", FailureCode.PAYER_LIMIT_REACHED),
        ("APPROVAL_REJECTED", FailureCode.PAYER_DECLINED),
        ("EXPIRED", FailureCode.PAYER_TIMEOUT),
        ("COULD_NOT_PERFORM_TRANSACTION", FailureCode.PAYER_TIMEOUT),
        ("INTERNAL_PROCESSING_ERROR", FailureCode.PROVIDER_ERROR),
        ("SERVICE_UNAVAILABLE", FailureCode.PROVIDER_UNAVAILABLE),
        ("INVALID_CURRENCY", FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        ("SOMETHING_NEW", FailureCode.PROVIDER_ERROR),
        (None, FailureCode.PROVIDER_ERROR),
        ({"message": "words"}, FailureCode.PROVIDER_ERROR),
    ],
)
def test_why_a_collection_failed(reason, code):
    assert stands({"status": "FAILED", "reason": reason}).failure.code is code


@pytest.mark.parametrize(
    ("reason", "code", "reroute"),
    [
        ("PAYEE_NOT_FOUND", FailureCode.INVALID_PAYER, False),
        ("PAYEE_NOT_ALLOWED_TO_RECEIVE", FailureCode.PAYER_ACCOUNT_BLOCKED, False),
        ("NOT_ENOUGH_FUNDS", FailureCode.FLOAT_TOO_LOW, True),
        ("PAYER_LIMIT_REACHED", FailureCode.FLOAT_TOO_LOW, True),
        ("NOT_ALLOWED", FailureCode.PROVIDER_ACCOUNT_BLOCKED, True),
        ("INTERNAL_PROCESSING_ERROR", FailureCode.PROVIDER_ERROR, False),
        (None, FailureCode.PROVIDER_ERROR, False),
    ],
)
def test_why_a_payout_failed_and_whether_another_account_may_pay_it(reason, code, reroute):
    failure = stands({"status": "FAILED", "reason": reason}, operation=PAYOUT).failure
    assert (failure.code, failure.reroute) == (code, reroute)


def test_a_payer_s_own_refusal_never_asks_for_another_rail():
    for reason, (code, reroute) in REASONS[COLLECT].items():
        answer = stands({"status": "FAILED", "reason": reason})
        if answer.failure.whose_problem is WhoseProblem.PAYER:
            assert not reroute, (reason, code)


@pytest.mark.parametrize("reason", sorted(STILL_GOING))
def test_a_failure_that_is_still_going_on_is_none(reason):
    assert stands({"status": "FAILED", "reason": reason}).status_at_rail is RailStatus.PENDING


def test_only_mtn_s_own_not_found_is_one():
    assert stands({"code": "RESOURCE_NOT_FOUND"}, 404).status_at_rail is RailStatus.NOT_FOUND
    assert stands({"statusCode": 404}, 404).status_at_rail is RailStatus.NO_INFORMATION
    assert stands(HTML, 404).status_at_rail is RailStatus.NO_INFORMATION
    assert stands({"code": "RESOURCE_NOT_FOUND"}, 500).status_at_rail is RailStatus.NO_INFORMATION


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("25", 2500),
        ("25.5", 2550),
        ("25.05", 2505),
        ("25.050000", 2505),
        ("0", 0),
        (25, 2500),
        (25.05, 2505),
        (0.1, 10),
        ("25.055", None),
        ("-1", None),
        ("1e400", None),
        ("NaN", None),
        ("Infinity", None),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
        (float("inf"), None),
    ],
)
def test_amounts_are_read_to_the_pesewa_or_not_at_all(amount, expected):
    assert pesewas(amount) == expected
