"""Every answer that Hubtel is known to give, and that no answer at all claims more than it proves."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.failure import FailureCode, WhoseProblem
from synccash.payments.rail import CallbackNote, NextActionType, Operation, RailStatus, cause_of
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault
from synccash.rails.hubtel.answers import ACCEPTED_CODES, CODES, judge_send, judge_status, read_callback
from synccash.resilience.evidence import Evidence

COLLECT, REFUND, PAYOUT = Operation.COLLECT, Operation.REFUND, Operation.PAYOUT
HTML = b"<html><head><title>403 Forbidden</title></head><body>403 Forbidden</body></html>"
OURS = "0" * 32
PROOF_CODES = {"3050", "4000", "4070", "4075", "4101", "4103"}


def said(status, body=b"", **headers):
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Exchange(status=status, headers=headers, body=encoded, latency_s=0.0)


def sent(status, body=b"", operation=COLLECT):
    return judge_send(said(status, body), operation)


def coded(code, message="words", **more):
    return {"ResponseCode": code, "Message": message, "Data": None} | more


@pytest.mark.parametrize(
    ("status", "body", "evidence", "code"),
    [
        (200, coded("0001"), Evidence.ACCEPTED, None),
        (200, coded("0000"), Evidence.ACCEPTED, None),
        (201, {"responseCode": "0001"}, Evidence.ACCEPTED, None),
        (500, coded("0001"), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, coded("2001"), Evidence.AMBIGUOUS, FailureCode.PAYER_DECLINED),
        (200, coded("3050"), Evidence.REFUSED_FINAL, FailureCode.INVALID_PAYER),
        (500, coded("4000"), Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ERROR),
        (400, coded("4070"), Evidence.REFUSED_FINAL, FailureCode.AMOUNT_NOT_ALLOWED),
        (400, coded("4075"), Evidence.REFUSED_FINAL, FailureCode.MERCHANT_ACCOUNT_BLOCKED),
        (401, coded("4101"), Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, coded("4103"), Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (200, coded("5000"), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (400, coded("9999"), Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (401, b"", Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, {}, Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (429, b"", Evidence.REFUSED_LATER, FailureCode.PROVIDER_UNAVAILABLE),
        (400, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (404, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (409, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (503, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, b"", Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
        (200, HTML, Evidence.AMBIGUOUS, FailureCode.PROVIDER_ERROR),
    ],
)
def test_what_an_answer_to_a_send_proves(status, body, evidence, code):
    answer = sent(status, body)
    assert (answer.evidence, answer.failure and answer.failure.code) == (evidence, code)
    assert answer.http_status == status


def test_the_page_of_the_allow_list_proves_nothing_and_tells_the_operator():
    answer = sent(403, HTML)
    assert answer.evidence is Evidence.AMBIGUOUS
    assert answer.failure.code is FailureCode.PROVIDER_ACCOUNT_BLOCKED


@pytest.mark.parametrize(
    "body",
    [
        coded("4000", "Duplicate ClientReference."),
        coded("4000", "This reference was used before"),
        coded("4000", Data=[{"Field": "ClientReference", "ErrorMessage": "exists"}]),
        {"title": "Transaction already exists"},
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403, 409, 429])
def test_a_refusal_that_speaks_of_a_reference_is_no_proof(status, body):
    assert sent(status, body).evidence is Evidence.AMBIGUOUS


def test_a_description_that_speaks_of_a_reference_takes_no_acceptance_away():
    body = coded("0001", Data={"TransactionId": "t1", "Description": "Already your reference, a duplicate"})
    answer = sent(200, body)
    assert (answer.evidence, answer.provider_transaction_id) == (Evidence.ACCEPTED, "t1")


def test_an_accepted_collection_tells_the_payer_what_to_do():
    assert sent(200, coded("0001")).next_action.type is NextActionType.APPROVE_ON_PHONE
    assert sent(200, coded("0001"), PAYOUT).next_action is None


def test_the_payer_s_own_refusals_never_ask_for_another_rail():
    theirs = [
        reroute
        for _evidence, (code, reroute) in CODES[COLLECT].values()
        if FailureCode(code) in (FailureCode.PAYER_DECLINED, FailureCode.INVALID_PAYER)
    ]
    assert theirs
    assert not any(theirs)


@pytest.mark.parametrize("evidence", [Evidence.NOT_SENT, Evidence.AMBIGUOUS])
def test_without_an_answer_the_transport_s_evidence_stands(evidence):
    failure = TransportFailure(evidence=evidence, fault=TransportFault.TIMEOUT, latency_s=1.0)
    assert judge_send(failure, COLLECT).evidence is evidence
    assert judge_status(failure, COLLECT, OURS).status_at_rail is RailStatus.NO_INFORMATION


# Inquiries.


def stands(data, operation=COLLECT, status=200, code=None):
    code = code or ("0000" if operation is COLLECT else "success")
    return judge_status(said(status, {"responseCode": code, "data": data}), operation, OURS)


def test_paid_names_its_amount_and_transaction():
    answer = stands({"status": "Paid", "amount": 25.05, "transactionId": "t1", "clientReference": OURS})
    assert (answer.reference, answer.currency) == (OURS, None)
    assert (answer.status_at_rail, answer.amount, answer.provider_transaction_id) == (
        RailStatus.SUCCEEDED,
        2505,
        "t1",
    )


@pytest.mark.parametrize(("named", "went_back"), [({"clientReference": OURS}, True), ({}, False)])
def test_money_went_back_where_hubtel_says_so_of_our_own_reference(named, went_back):
    assert stands({"status": "Refunded", **named}).went_back is went_back


def test_unpaid_is_pending_and_never_failed():
    answer = stands({"status": "Unpaid", "amount": 25.05})
    assert (answer.status_at_rail, answer.failure) == (RailStatus.PENDING, None)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"status": "Refunded"}, "refunded"),
        ({"status": "Else"}, "unknown_status"),
        ({"status": None}, "unknown_status"),
        ({}, "unknown_status"),
        ({"status": "Paid", "clientReference": "1" * 32}, "other_reference"),
        ({"status": "Paid"}, "unnamed_reference"),
        ({"status": "Paid", "clientReference": None}, "unnamed_reference"),
        ({"status": "Paid", "clientReference": OURS, "amount": "much"}, "unreadable_amount"),
        (
            {"status": "Paid", "clientReference": OURS, "amount": 1, "currencyCode": "USD"},
            "unreadable_amount",
        ),
    ],
)
def test_what_cannot_be_taken_for_an_end_is_no_information(data, why):
    answer = stands(data)
    assert (answer.status_at_rail, answer.provider_code) == (RailStatus.NO_INFORMATION, why)


def test_a_code_of_the_query_is_not_a_state_of_the_payment():
    assert stands({"status": "Paid"}, code="0001").status_at_rail is RailStatus.NO_INFORMATION
    assert stands({"status": "Paid"}, code="2001").status_at_rail is RailStatus.NO_INFORMATION


NOT_KNOWN = {"message": "Transaction not found.", "responseCode": "4000", "data": None}


@pytest.mark.parametrize("operation", [COLLECT, REFUND, PAYOUT])
def test_an_unknown_reference_proves_nothing_and_is_no_fault_of_hubtel(operation):
    answer = judge_status(said(404, NOT_KNOWN), operation, OURS)
    assert (answer.status_at_rail, answer.provider_code) == (RailStatus.NO_INFORMATION, "not_found")
    assert answer.unknown_reference
    assert cause_of(answer) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"message": "Not found"}),
        (404, {"message": "Invalid keys.", "responseCode": "4101", "data": None}),
        (404, NOT_KNOWN | {"data": {"status": "Paid"}}),
        (404, {}),
        (500, NOT_KNOWN),
        (200, NOT_KNOWN),
    ],
)
def test_an_answer_of_another_form_does_not_say_that_a_reference_is_unknown(status, body):
    answer = judge_status(said(status, body), COLLECT, OURS)
    assert answer.status_at_rail is RailStatus.NO_INFORMATION
    assert not answer.unknown_reference
    assert cause_of(answer) is not None


@pytest.mark.parametrize("operation", [REFUND, PAYOUT])
@pytest.mark.parametrize(
    ("word", "status_at_rail"),
    [
        ("success", RailStatus.SUCCEEDED),
        ("pending", RailStatus.PENDING),
        ("failed", RailStatus.FAILED),
        ("reversed", RailStatus.NO_INFORMATION),
    ],
)
def test_money_that_was_sent_out_stands_by_its_own_words(operation, word, status_at_rail):
    answer = stands({"transactionStatus": word, "Amount": 0.8, "clientReference": OURS}, operation)
    assert answer.status_at_rail is status_at_rail
    assert (answer.failure is not None) == (status_at_rail is RailStatus.FAILED)


@pytest.mark.parametrize("word", ["success", "failed"])
def test_what_does_not_say_whom_it_is_about_ends_no_money_that_was_sent_out(word):
    answer = stands({"transactionStatus": word}, PAYOUT)
    assert (answer.status_at_rail, answer.provider_code) == (RailStatus.NO_INFORMATION, "unnamed_reference")


# Callbacks.


def test_a_callback_of_a_failure_is_noted_as_one():
    note = read_callback(msgspec.json.encode(coded("2001", "failed")))
    assert (note.failure.code, note.failure.provider_code) == (FailureCode.PAYER_DECLINED, "2001")
    assert note.failure.whose_problem is WhoseProblem.PAYER
    assert not note.failure.reroute


@pytest.mark.parametrize("code", [*sorted(ACCEPTED_CODES), *sorted(PROOF_CODES), "5000", "9999"])
def test_a_callback_of_anything_else_is_a_hint_only(code):
    assert read_callback(msgspec.json.encode(coded(code))) == CallbackNote()


@pytest.mark.parametrize("body", [b"", b"[]", HTML, b"{}", b'{"ResponseCode":2001}', b'{"ResponseCode":"?"}'])
def test_what_is_no_callback_of_hubtel_s_is_none(body):
    assert read_callback(body) is None


# Whatever it says.


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
codes = (
    st.sampled_from([*sorted(PROOF_CODES | ACCEPTED_CODES), "2001", "5000", "success", "1234", ""])
    | json_values
)
words = st.sampled_from(["Paid", "Unpaid", "Refunded", "success", "failed", "duplicate", OURS]) | json_values
data = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["status", "transactionStatus", "amount", "clientReference", "currencyCode", "TransactionId"], words
    ),
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "ResponseCode": codes,
        "responseCode": codes,
        "Message": words,
        "Data": data | json_values,
        "data": data | json_values,
    },
)
bodies = st.binary(max_size=60) | objects.map(msgspec.json.encode) | json_values.map(msgspec.json.encode)
# Answers in which one or two members differ from a right one: by chance alone nearly none comes that close.
near_answers = st.fixed_dictionaries(
    {
        "responseCode": st.sampled_from(["0000", "success", "2001"]),
        "data": st.fixed_dictionaries(
            {"status": st.sampled_from(["Paid", "Unpaid"])},
            optional={
                "transactionStatus": st.sampled_from(["success", "failed"]),
                "clientReference": st.sampled_from([OURS, OURS, "another"]),
                "amount": st.just(25.0),
            },
        ),
    }
).map(msgspec.json.encode)
near_statuses = st.sampled_from([200, 200, 400, 500])
statuses = st.sampled_from([200, 201, 400, 401, 403, 404, 409, 429, 500, 503]) | st.integers(100, 599)
answers = st.tuples(statuses, bodies) | st.tuples(near_statuses, near_answers)


@given(statuses, bodies)
def test_no_answer_makes_a_send_raise_or_claim_more_than_it_proves(status, body):
    exchange = said(status, body)
    for operation in (COLLECT, REFUND, PAYOUT):
        answer = judge_send(exchange, operation)
        assert (answer.failure is None) == (answer.evidence is Evidence.ACCEPTED)
        if answer.evidence.proves_nothing_happened:
            legible = exchange.json_object() is not None or not body.strip()
            by_code = any(code.encode() in body for code in PROOF_CODES)
            assert by_code or (legible and status in (401, 403, 429))
            assert b"duplicate" not in body.split(b'"')
        if answer.evidence is Evidence.ACCEPTED:
            assert status < 300
            assert any(code.encode() in body for code in ACCEPTED_CODES)


@given(answers)
def test_no_answer_makes_an_inquiry_or_a_callback_raise_or_claim_more_than_it_says(answer):
    status, body = answer
    for operation in (COLLECT, REFUND, PAYOUT):
        answer = judge_status(said(status, body), operation, OURS)
        if answer.status_at_rail is not RailStatus.NO_INFORMATION:
            assert status == 200
        if answer.status_at_rail in (RailStatus.SUCCEEDED, RailStatus.FAILED):
            assert OURS.encode() in body
        if answer.status_at_rail is RailStatus.SUCCEEDED:
            assert b"Paid" in body or b"success" in body
        if answer.status_at_rail is RailStatus.FAILED:
            assert operation is not COLLECT
            assert b"failed" in body
        assert answer.status_at_rail is not RailStatus.NOT_FOUND
    note = read_callback(body)
    if note is not None and note.failure is not None:
        assert b"2001" in body
        assert not note.failure.reroute
