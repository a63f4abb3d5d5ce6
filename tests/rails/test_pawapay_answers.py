"""Every answer that pawaPay is known to give, and that no answer at all claims more than it proves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.failure import FailureCode, WhoseProblem
from synccash.payments.rail import NextActionType, Operation, RailStatus
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault
from synccash.rails.pawapay.answers import (
    ID_FIELDS,
    REASONS,
    REFUSALS,
    judge_send,
    judge_status,
    read_callback,
)
from synccash.resilience.evidence import Evidence

COLLECT, PAYOUT, REFUND = Operation.COLLECT, Operation.PAYOUT, Operation.REFUND
REFERENCE = "f4401bd2-1568-4140-bf2d-eb77d2b2b639"
OTHER = "afb57b93-7849-49aa-babb-4c3ccbfe3d79"
HTML = b"<html><body>Request Rejected</body></html>"
OPERATIONS = [COLLECT, PAYOUT, REFUND]


def said(status, body=b"", **headers):
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Exchange(status=status, headers=headers, body=encoded, latency_s=0.0)


def sent(status, body=b"", operation=COLLECT, **headers):
    return judge_send(said(status, body, **headers), operation, REFERENCE)


def stands(data, operation=COLLECT, **changes):
    found = {"status": "FOUND", "data": {ID_FIELDS[operation]: REFERENCE} | data}
    return judge_status(said(200, found | changes), operation, REFERENCE, "GHS")


def rejected(code, **changes):
    reason = {"failureCode": code, "failureMessage": "words"}
    return {"depositId": REFERENCE, "status": "REJECTED", "failureReason": reason} | changes


def reason(code):
    return {"failureReason": {"failureCode": code, "failureMessage": "words"}}


@pytest.mark.parametrize(
    ("status", "body", "evidence", "code"),
    [
        (200, {"depositId": REFERENCE, "status": "ACCEPTED"}, Evidence.ACCEPTED, None),
        (200, {"depositId": REFERENCE, "status": "DUPLICATE_IGNORED"}, Evidence.ACCEPTED, None),
        (200, {"depositId": OTHER, "status": "ACCEPTED"}, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (500, {"depositId": REFERENCE, "status": "ACCEPTED"}, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, rejected("SOMETHING_NEW"), Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ERROR),
        (200, rejected("INVALID_AMOUNT"), Evidence.REFUSED_FINAL, FailureCode.AMOUNT_NOT_ALLOWED),
        (200, rejected("INVALID_AMOUNT", depositId=OTHER), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, rejected("UNKNOWN_ERROR"), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, {"status": "REJECTED"}, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (500, reason("UNKNOWN_ERROR"), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (400, reason("SOMETHING_NEW"), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (401, reason("NO_AUTHENTICATION"), Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, reason("DEPOSITS_NOT_ALLOWED"), Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, b"", Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (429, {"message": "slow"}, Evidence.REFUSED_LATER, FailureCode.PROVIDER_UNAVAILABLE),
        (403, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (429, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (400, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (502, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (503, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
    ],
)
def test_what_an_answer_to_a_send_proves(status, body, evidence, code):
    answer = sent(status, body)
    assert (answer.evidence, answer.failure and answer.failure.code) == (evidence, code)


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_published_refusal_is_known_by_its_code(code):
    evidence, (failure, reroute) = REFUSALS[code]
    answer = sent(200, rejected(code))
    assert (answer.evidence, answer.failure.code, answer.failure.reroute) == (evidence, failure, reroute)
    assert answer.provider_code == code


def test_a_provider_that_is_closed_may_be_asked_later():
    assert sent(200, rejected("PROVIDER_TEMPORARILY_UNAVAILABLE")).evidence is Evidence.REFUSED_LATER


def test_a_duplicate_is_the_original_adopted():
    answer = sent(200, {"depositId": REFERENCE, "status": "DUPLICATE_IGNORED"})
    assert (answer.duplicate, answer.provider_code) == (True, "DUPLICATE_IGNORED")
    assert answer.next_action.type is NextActionType.APPROVE_ON_PHONE


def test_the_wait_that_is_asked_for_is_handed_on():
    assert sent(429, {}, **{"Retry-After": "7"}).retry_after_s == 7.0
    assert sent(429, {}, **{"Retry-After": "soon"}).retry_after_s is None


@pytest.mark.parametrize("evidence", [Evidence.NOT_SENT, Evidence.AMBIGUOUS])
def test_without_an_answer_the_transport_s_evidence_stands(evidence):
    failure = TransportFailure(evidence=evidence, fault=TransportFault.TIMEOUT, latency_s=1.0)
    assert judge_send(failure, COLLECT, REFERENCE).evidence is evidence
    assert judge_status(failure, COLLECT, REFERENCE, "GHS").status_at_rail is RailStatus.NO_INFORMATION


@pytest.mark.parametrize(
    ("word", "status_at_rail"),
    [
        ("ACCEPTED", RailStatus.PENDING),
        ("ENQUEUED", RailStatus.PENDING),
        ("PROCESSING", RailStatus.PENDING),
        ("IN_RECONCILIATION", RailStatus.PENDING),
        ("COMPLETED", RailStatus.SUCCEEDED),
        ("FAILED", RailStatus.FAILED),
        ("SOMETHING_NEW", RailStatus.NO_INFORMATION),
        (None, RailStatus.NO_INFORMATION),
        (["COMPLETED"], RailStatus.NO_INFORMATION),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_how_each_status_stands(operation, word, status_at_rail):
    assert stands({"status": word}, operation).status_at_rail is status_at_rail


def test_not_found_is_said_with_http_200_and_only_so():
    body = {"status": "NOT_FOUND"}
    assert judge_status(said(200, body), COLLECT, REFERENCE, "GHS").status_at_rail is RailStatus.NOT_FOUND
    for answer in (said(404, body), said(404), said(404, HTML), said(200, {"data": body})):
        assert judge_status(answer, COLLECT, REFERENCE, "GHS").status_at_rail is RailStatus.NO_INFORMATION


def test_an_answer_about_another_reference_says_nothing():
    answer = stands({"depositId": OTHER, "status": "COMPLETED"})
    assert (answer.status_at_rail, answer.reference) == (RailStatus.NO_INFORMATION, OTHER)
    assert answer.provider_code == "other_reference"
    unnamed = stands({"depositId": None, "status": "COMPLETED"})
    assert (unnamed.status_at_rail, unnamed.provider_code) == (RailStatus.NO_INFORMATION, "unnamed_reference")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("word", ["PROCESSING", "COMPLETED", "FAILED"])
def test_an_answer_names_the_reference_that_was_asked_for(operation, word):
    assert stands({"status": word}, operation).reference == REFERENCE


def test_a_success_names_its_amount_and_transaction():
    data = {"status": "COMPLETED", "amount": "25.05", "currency": "GHS", "providerTransactionId": "61"}
    answer = stands(data)
    assert (answer.amount, answer.currency, answer.provider_transaction_id) == (2505, "GHS", "61")
    assert stands({"status": "COMPLETED"}).amount is None


@pytest.mark.parametrize(
    "changes", [{"amount": "much"}, {"amount": 25.05}, {"currency": "XAF"}, {"amount": ""}]
)
def test_a_success_over_money_that_cannot_be_read_is_no_information(changes):
    data = {"status": "COMPLETED", "amount": "25.05", "currency": "GHS"} | changes
    assert stands(data).status_at_rail is RailStatus.NO_INFORMATION


@pytest.mark.parametrize(
    ("operation", "word"), [(operation, word) for operation in OPERATIONS for word in REASONS[operation]]
)
def test_every_reason_of_a_failure_is_known(operation, word):
    code, reroute = REASONS[operation][word]
    answer = stands({"status": "FAILED"} | reason(word), operation)
    assert (answer.status_at_rail, answer.failure.code) == (RailStatus.FAILED, code)
    assert answer.failure.reroute is reroute
    if answer.failure.whose_problem is WhoseProblem.PAYER:
        assert not reroute


def test_a_failure_for_a_new_reason_sends_nobody_to_another_rail():
    answer = stands({"status": "FAILED"} | reason("SOMETHING_NEW"))
    assert (answer.failure.code, answer.failure.reroute) == (FailureCode.PROVIDER_ERROR, False)
    assert stands({"status": "FAILED"}).failure.code is FailureCode.PROVIDER_ERROR


@pytest.mark.parametrize("field", ["depositId", "payoutId", "refundId"])
def test_a_callback_names_its_attempt_and_nothing_else_of_it_is_read(field):
    body = {field: REFERENCE, "status": "COMPLETED", "amount": "1000000"}
    note = read_callback(msgspec.json.encode(body))
    assert (note.reference, note.failure) == (REFERENCE, None)


def test_the_callback_of_a_refund_names_the_refund_not_its_deposit():
    body = {"depositId": OTHER, "refundId": REFERENCE}
    assert read_callback(msgspec.json.encode(body)).reference == REFERENCE


@given(st.binary(max_size=80))
def test_no_callback_makes_the_reader_raise(body):
    assert read_callback(body) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
words = st.sampled_from(
    [
        "ACCEPTED",
        "REJECTED",
        "DUPLICATE_IGNORED",
        "FOUND",
        "NOT_FOUND",
        "COMPLETED",
        "FAILED",
        "PROCESSING",
        "",
    ]
)
codes = st.sampled_from([*sorted(REFUSALS), "UNKNOWN_ERROR", "PAYER_NOT_FOUND", "invalid_amount"])
reasons = st.fixed_dictionaries({"failureCode": codes | json_values}) | json_values
fields = {
    "status": words | json_values,
    "failureReason": reasons,
    "amount": st.sampled_from(["25.00", "1e3", "-1", "0.001"]) | json_values,
    "currency": st.sampled_from(["GHS", "XAF"]) | json_values,
    **dict.fromkeys(ID_FIELDS.values(), st.sampled_from([REFERENCE, OTHER]) | json_values),
}
objects = st.fixed_dictionaries(
    {}, optional={**fields, "data": st.fixed_dictionaries({}, optional=fields) | json_values}
)
bodies = st.binary(max_size=60) | (objects | json_values).map(msgspec.json.encode)
# Answers in which one or two members differ from a right one: by chance alone nearly none comes that close.
near_answers = st.fixed_dictionaries(
    {"status": st.sampled_from(["FOUND", "FOUND", "NOT_FOUND", "ACCEPTED"])},
    optional={
        "data": st.fixed_dictionaries(
            {
                "status": st.sampled_from(["COMPLETED", "FAILED", "PROCESSING"]),
                **dict.fromkeys(ID_FIELDS.values(), st.sampled_from([REFERENCE, REFERENCE, OTHER])),
            },
            optional={"amount": st.just("25.00"), "currency": st.sampled_from(["GHS", "XAF"])},
        )
    },
).map(msgspec.json.encode)
near_statuses = st.sampled_from([200, 200, 400, 404, 500])
statuses = st.integers(100, 599) | st.sampled_from([200, 400, 401, 403, 429])
answers = st.tuples(statuses, bodies) | st.tuples(near_statuses, near_answers)


@given(answers, st.sampled_from(OPERATIONS))
def test_no_answer_makes_a_send_raise_or_claim_more_than_it_proves(answer, operation):
    status, body = answer
    exchange = said(status, body)
    answer = judge_send(exchange, operation, REFERENCE)
    decoded = exchange.json_object()
    if answer.evidence is Evidence.ACCEPTED:
        assert (status, answer.failure) == (200, None)
        assert decoded["status"] in ("ACCEPTED", "DUPLICATE_IGNORED")
        assert decoded.get(ID_FIELDS[operation], REFERENCE) == REFERENCE
    else:
        assert answer.failure is not None
    if answer.evidence.proves_nothing_happened:
        rejection = status == 200 and decoded["status"] == "REJECTED"
        coded = 400 <= status < 500 and decoded is not None and "failureReason" in decoded
        assert rejection or coded or status in (401, 403, 429)


@given(answers, st.sampled_from(OPERATIONS))
def test_no_answer_makes_an_inquiry_raise_or_claim_more_than_it_says(answer, operation):
    status, body = answer
    exchange = said(status, body)
    answer = judge_status(exchange, operation, REFERENCE, "GHS")
    if answer.status_at_rail in (RailStatus.SUCCEEDED, RailStatus.FAILED, RailStatus.PENDING):
        data = exchange.json_object()["data"]
        assert (status, data[ID_FIELDS[operation]]) == (200, REFERENCE)
        assert (data["status"] == "COMPLETED") == (answer.status_at_rail is RailStatus.SUCCEEDED)
        assert (data["status"] == "FAILED") == (answer.status_at_rail is RailStatus.FAILED)
    if answer.status_at_rail is RailStatus.NOT_FOUND:
        assert (status, exchange.json_object()["status"]) == (200, "NOT_FOUND")
