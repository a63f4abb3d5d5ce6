"""What Paystack's answers prove, and that no answer at all claims more."""

import hashlib
import hmac

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.failure import FailureCode
from synccash.payments.rail import NextActionType, Operation, RailStatus
from synccash.rails.http.transport import Exchange
from synccash.rails.paystack.answers import (
    CODES,
    REASONS,
    REFUNDS_PER_PAGE,
    STATUSES,
    judge_otp,
    judge_refunds,
    judge_send,
    judge_status,
    recipient_code,
)
from synccash.rails.paystack.callbacks import read_event
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret

COLLECT, REFUND, PAYOUT = Operation.COLLECT, Operation.REFUND, Operation.PAYOUT
OURS = "0b9ff1a4-6ea6-4b13-8b5b-2b2b2b2b2b2b"
HTML = b"<html><body>Attention required</body></html>"


def said(status, body=b"", **headers):
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Exchange(status=status, headers=headers, body=encoded, latency_s=0.0)


def error(message="?", **fields):
    return {"status": False, "message": message} | fields


def yes(status="pay_offline", **data):
    return {
        "status": True,
        "message": "Charge attempted",
        "data": {"reference": OURS, "status": status} | data,
    }


VALIDATION = {"type": "validation_error", "code": "invalid_params"}


@pytest.mark.parametrize(
    ("status", "body", "evidence"),
    [
        (200, yes(), Evidence.ACCEPTED),
        (200, yes("send_otp"), Evidence.ACCEPTED),
        (200, yes("failed"), Evidence.ACCEPTED),
        (200, yes("open_url"), Evidence.AMBIGUOUS),
        (200, yes(reference="another"), Evidence.AMBIGUOUS),
        (400, error("Duplicate Transaction Reference"), Evidence.ACCEPTED),
        (400, error("?", type="validation_error", code="duplicate_reference"), Evidence.ACCEPTED),
        (400, error("Invalid phone", **VALIDATION), Evidence.REFUSED_FINAL),
        (400, error("Invalid phone"), Evidence.REFUSED_FINAL),
        (400, error("Charge attempted", data={"status": "failed"}), Evidence.AMBIGUOUS),
        (400, error("Charge attempted"), Evidence.AMBIGUOUS),
        (400, error("This transaction already went through"), Evidence.AMBIGUOUS),
        (400, error("Reference has been used", **VALIDATION), Evidence.AMBIGUOUS),
        (409, error("Transaction exists"), Evidence.AMBIGUOUS),
        (400, error("?", type="validation_error", code="transaction_already_made"), Evidence.AMBIGUOUS),
        (400, error("Insufficient funds", type="processor_error", code="x_y"), Evidence.AMBIGUOUS),
        (401, error("Invalid key", type="validation_error", code="invalid_Key"), Evidence.REFUSED_FINAL),
        (429, error("Too many", type="api_error", code="rate_limited"), Evidence.REFUSED_LATER),
        (500, error("Duplicate Transaction Reference"), Evidence.AMBIGUOUS),
        (503, error("Service unavailable", **VALIDATION), Evidence.AMBIGUOUS),
        (400, b"", Evidence.AMBIGUOUS),
        (401, HTML, Evidence.AMBIGUOUS),
        (200, HTML, Evidence.AMBIGUOUS),
    ],
)
def test_what_an_answer_to_a_charge_proves(status, body, evidence):
    answer = judge_send(said(status, body), COLLECT, OURS)
    assert answer.evidence is evidence
    assert answer.duplicate == (b"uplicate" in msgspec.json.encode(body) and status == 400)


def test_what_the_payer_has_to_do_comes_with_paystack_s_own_words():
    prompt = judge_send(said(200, yes(display_text="Approve it")), COLLECT, OURS).next_action
    assert (prompt.type, prompt.display_text) == (NextActionType.APPROVE_ON_PHONE, "Approve it")
    voucher = judge_send(said(200, yes("send_otp", display_text="Dial *110#")), COLLECT, OURS).next_action
    assert (voucher.type, voucher.display_text) == (NextActionType.SUBMIT_OTP, "Dial *110#")


@pytest.mark.parametrize("operation", [COLLECT, PAYOUT])
def test_a_duplicate_told_in_words_that_nobody_knows_is_no_ground_for_another_rail(operation):
    answer = judge_send(said(400, error("A transfer was already made with this id")), operation, OURS)
    assert (answer.evidence, answer.duplicate) == (Evidence.AMBIGUOUS, False)


def test_an_error_that_names_a_duplicate_is_no_acceptance_of_a_refund():
    answer = judge_send(said(400, error("Duplicate Transaction Reference")), REFUND, OURS)
    assert answer.evidence is Evidence.REFUSED_FINAL


@pytest.mark.parametrize(
    ("status", "body", "status_at_rail"),
    [
        (400, error("Transaction reference not found"), RailStatus.NOT_FOUND),
        (404, error("Transaction reference not found."), RailStatus.NOT_FOUND),
        (400, error("?", code="transaction_not_found"), RailStatus.NOT_FOUND),
        (404, error("Not found"), RailStatus.NO_INFORMATION),
        (404, HTML, RailStatus.NO_INFORMATION),
        (500, error("Transaction reference not found"), RailStatus.NO_INFORMATION),
        (200, error("Transaction reference not found"), RailStatus.NO_INFORMATION),
        (200, yes("success", amount=2505, currency="GHS"), RailStatus.SUCCEEDED),
        (200, yes("success", amount=2505, currency="NGN"), RailStatus.NO_INFORMATION),
        (200, yes("success", amount="25.05", currency="GHS"), RailStatus.NO_INFORMATION),
        (200, yes("success", amount=2505, currency="GHS", reference="x"), RailStatus.NO_INFORMATION),
        (200, yes("reversed", amount=2505, currency="GHS"), RailStatus.NO_INFORMATION),
        (200, yes("reversal-pending", amount=2505, currency="GHS"), RailStatus.SUCCEEDED),
        (200, yes("reversal-pending"), RailStatus.NO_INFORMATION),
        (200, yes("ongoing"), RailStatus.PENDING),
        (200, yes("failed"), RailStatus.FAILED),
    ],
)
def test_how_a_transaction_stands(status, body, status_at_rail):
    answer = judge_status(said(status, body), COLLECT, OURS)
    assert answer.status_at_rail is status_at_rail
    if status_at_rail in (RailStatus.SUCCEEDED, RailStatus.PENDING, RailStatus.FAILED):
        assert answer.reference == OURS
    assert answer.currency == ("GHS" if status_at_rail is RailStatus.SUCCEEDED else None)


def test_a_reversal_is_told_by_its_word():
    taken_back = judge_status(said(200, yes("reversed")), PAYOUT, OURS)
    assert (taken_back.status_at_rail, taken_back.provider_code) == (RailStatus.FAILED, "reversed")
    assert not taken_back.failure.reroute
    given_back = judge_status(said(200, yes("reversed", amount=2505, currency="GHS")), COLLECT, OURS)
    assert (given_back.provider_code, given_back.amount) == ("reversed", None)
    assert given_back.went_back
    assert given_back.perhaps_refunded
    going_back = judge_status(said(200, yes("reversal-pending", amount=2505, currency="GHS")), COLLECT, OURS)
    assert going_back.amount == 2505
    assert (
        judge_refunds(listed(entry(status="reversal-pending")), OURS, 500).status_at_rail
        is RailStatus.PENDING
    )


@pytest.mark.parametrize("status", [200, 400])
def test_a_voucher_over_which_the_charge_failed_is_refused(status):
    body = yes("failed", message="Declined") | {"status": status == 200}
    answer = judge_otp(said(status, body), OURS)
    assert (answer.evidence, answer.failure.code) == (Evidence.REFUSED_FINAL, FailureCode.PAYER_DECLINED)


@pytest.mark.parametrize(
    ("status", "body", "evidence"),
    [
        (200, yes("pay_offline"), Evidence.ACCEPTED),
        (400, error("Invalid OTP", type="validation_error", code="invalid_otp"), Evidence.REFUSED_FINAL),
        (200, yes("failed", reference="another"), Evidence.AMBIGUOUS),
        (500, yes("failed"), Evidence.AMBIGUOUS),
        (504, HTML, Evidence.AMBIGUOUS),
    ],
)
def test_what_an_answer_to_a_voucher_proves(status, body, evidence):
    assert judge_otp(said(status, body), OURS).evidence is evidence


def test_an_answer_about_another_transaction_names_it_and_says_nothing():
    for named in ("another", 7):
        answer = judge_status(said(200, yes("failed", reference=named)), COLLECT, OURS)
        assert (answer.status_at_rail, answer.provider_code) == (RailStatus.NO_INFORMATION, "other_reference")
        assert answer.reference != OURS
    unnamed = judge_status(said(200, yes("failed", reference=None)), COLLECT, OURS)
    assert (unnamed.status_at_rail, unnamed.provider_code) == (RailStatus.NO_INFORMATION, "unnamed_reference")


@pytest.mark.parametrize(
    ("date", "status_at_rail"),
    [
        ("Thu, 01 Jan 2026 10:02:59 GMT", RailStatus.PENDING),
        ("Thu, 01 Jan 2026 10:05:01 GMT", RailStatus.FAILED),
        ("", RailStatus.PENDING),
        ("soon", RailStatus.PENDING),
    ],
)
def test_abandoned_is_an_end_only_when_by_paystack_s_clock_the_prompt_is_long_over(date, status_at_rail):
    body = yes("abandoned", created_at="2026-01-01T10:00:00.000Z")
    answer = judge_status(said(200, body, Date=date), COLLECT, OURS)
    assert answer.status_at_rail is status_at_rail
    if status_at_rail is RailStatus.FAILED:
        assert answer.failure.code is FailureCode.PAYER_TIMEOUT


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Insufficient Funds", FailureCode.INSUFFICIENT_FUNDS),
        ("LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED", FailureCode.INSUFFICIENT_FUNDS),
        ("Transaction limit exceeded", FailureCode.PAYER_LIMIT_REACHED),
        ("Account holder not found", FailureCode.INVALID_PAYER),
        ("Transaction timed out", FailureCode.PAYER_TIMEOUT),
        ("Declined by customer", FailureCode.PAYER_DECLINED),
        ("Something new", FailureCode.PROVIDER_ERROR),
        (None, FailureCode.PROVIDER_ERROR),
    ],
)
def test_why_a_charge_failed_is_never_a_ground_to_prompt_the_wallet_again(words, code):
    failure = judge_status(said(200, yes("failed", gateway_response=words)), COLLECT, OURS).failure
    assert (failure.code, failure.reroute) == (code, False)


def listed(*entries):
    return said(200, {"status": True, "message": "Refunds retrieved", "data": list(entries)})


def entry(note=OURS, status="processed", amount=500, **fields):
    return {"id": 7, "merchant_note": note, "status": status, "amount": amount, "currency": "GHS"} | fields


def test_a_refund_is_adopted_by_the_reference_in_its_note_and_its_amount():
    found = judge_refunds(listed(entry("another's"), entry()), OURS, 500)
    assert (found.status_at_rail, found.amount, found.provider_transaction_id) == (
        RailStatus.SUCCEEDED,
        500,
        "7",
    )
    assert (
        judge_refunds(listed(entry(status="needs-attention")), OURS, 500).status_at_rail is RailStatus.PENDING
    )
    assert judge_refunds(listed(entry(status="failed")), OURS, 500).status_at_rail is RailStatus.FAILED
    assert (
        judge_refunds(listed(entry(status="failed")), OURS, 501).status_at_rail is RailStatus.NO_INFORMATION
    )
    moved = judge_refunds(listed(entry()), OURS, 501)
    assert (moved.status_at_rail, moved.amount) == (RailStatus.SUCCEEDED, 500), (
        "another amount is told, not hidden"
    )
    assert judge_refunds(listed(entry("another's")), OURS, 500).status_at_rail is RailStatus.NOT_FOUND


def test_a_list_that_may_go_on_or_cannot_be_read_does_not_say_that_a_refund_is_missing():
    for answer in (
        listed(*[entry("another's")] * REFUNDS_PER_PAGE),
        listed("?"),
        listed(None),
        said(200, b"[]"),
    ):
        assert judge_refunds(answer, OURS, 500).status_at_rail is RailStatus.NO_INFORMATION


def test_a_payout_whose_recipient_was_not_named_was_not_sent():
    assert recipient_code(said(201, {"status": True, "data": {"recipient_code": "RCP_1"}})) == "RCP_1"
    for answer in (said(500), said(200, HTML), said(200, yes()), said(201, {"status": True})):
        assert recipient_code(answer).evidence is Evidence.NOT_SENT
    refused = recipient_code(said(400, error("Invalid account", **VALIDATION)))
    assert refused.evidence is Evidence.REFUSED_FINAL


# Totality.

SHAPES = {
    "nothing": b"",
    "web page": HTML,
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "a broken one": b'{"status":false',
    "a bare yes": b'{"status":true}',
    "a bare no": b'{"status":false}',
    "status as text": b'{"status":"false","message":"?"}',
    **{f"the code {code}": msgspec.json.encode(error("?", type="api_error", code=code)) for code in CODES},
    **{f"data {word}": msgspec.json.encode(yes(word)) for words in STATUSES.values() for word in words},
}


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("status", [*range(200, 209), *range(400, 432), 451, *range(500, 512), 599])
def test_every_status_with_every_body_has_an_evidence_and_none_claims_too_much(status, operation):
    for shape, body in SHAPES.items():
        exchange = said(status, body)
        answer = judge_send(exchange, operation, OURS)
        assert (answer.failure is None) == (answer.evidence is Evidence.ACCEPTED)
        if answer.evidence.proves_nothing_happened:
            decoded = exchange.json_object()
            assert status in (400, 401, 403, 404, 429), shape
            assert decoded["status"] is False, shape
        if answer.evidence is Evidence.ACCEPTED:
            assert shape.startswith("data "), shape
            assert status in (200, 201), shape


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
words = st.sampled_from(["success", "failed", "abandoned", "processed", "pending", "send_otp", "Declined"])
datas = st.fixed_dictionaries(
    {},
    optional={
        "status": words | json_values,
        "reference": st.just(OURS) | json_values,
        "amount": st.integers(-1, 10**13) | json_values,
        "currency": st.just("GHS") | json_values,
        "id": json_values,
        "created_at": st.just("2026-01-01T00:00:00Z") | json_values,
        "gateway_response": json_values,
        "merchant_note": st.just(OURS) | json_values,
    },
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "status": st.booleans() | json_values,
        "message": st.sampled_from(["Duplicate Transaction Reference", "Charge attempted"]) | json_values,
        "type": st.sampled_from(["validation_error", "api_error", "processor_error"]) | json_values,
        "code": st.sampled_from([*CODES, "transaction_not_found", "duplicate_reference"]) | json_values,
        "data": datas | st.lists(datas, max_size=3) | json_values,
    },
)
bodies = st.binary(max_size=60) | objects.map(msgspec.json.encode)
# Answers in which one or two members differ from a right one: by chance alone nearly none comes that close.
near_found = st.fixed_dictionaries(
    {
        "status": st.just(True),
        "data": st.fixed_dictionaries(
            {
                "status": st.sampled_from(["success", "failed", "pending"]),
                "reference": st.sampled_from([OURS, "another"]),
            },
            optional={"amount": st.just(2_500), "currency": st.sampled_from(["GHS", "EUR"])},
        ),
    }
)
near_refusals = st.fixed_dictionaries(
    {"status": st.just(False), "message": st.sampled_from(["Invalid key", "Charge attempted"])},
    optional={
        "type": st.sampled_from(["validation_error", "api_error"]),
        "data": st.just({"status": "failed"}),
    },
)
near_answers = (near_found | near_refusals).map(msgspec.json.encode)
near_statuses = st.sampled_from([200, 200, 400, 404, 500])
# Each known status as often as all others together: from 500 statuses alone hardly an example is a known one.
statuses = st.sampled_from([200, 201, 400, 401, 403, 404, 409, 429, 500, 503]) | st.integers(100, 599)
answers = st.tuples(statuses, bodies) | st.tuples(near_statuses, near_answers)
headers = st.dictionaries(st.sampled_from(["Retry-After", "Date"]), st.text(max_size=30))


@given(answers, headers)
def test_no_answer_raises_or_claims_more_than_it_says(answer, headers):
    status, body = answer
    exchange = Exchange(status=status, headers=headers, body=body, latency_s=0.0)
    decoded = exchange.json_object() or {}
    recipient_code(exchange)
    for operation in Operation:
        answer = judge_send(exchange, operation, OURS)
        if answer.evidence.proves_nothing_happened:
            assert 400 <= status < 500
            assert decoded["status"] is False
            assert "data" not in decoded
            # A charge that was attempted may have moved money, whatever the status of the answer.
            message = decoded.get("message")
            assert status == 429 or (isinstance(message, str) and "charge attempted" not in message.lower())
    for answer in (
        judge_status(exchange, COLLECT, OURS),
        judge_status(exchange, PAYOUT, OURS),
        judge_refunds(exchange, OURS, 500),
    ):
        if answer.status_at_rail in (RailStatus.SUCCEEDED, RailStatus.FAILED, RailStatus.PENDING):
            assert status in (200, 201)
            assert decoded["status"] is True
            data = decoded["data"]
            assert OURS in (str(data) if isinstance(data, list) else data["reference"])
        assert (answer.failure is None) == (answer.status_at_rail is not RailStatus.FAILED)


def test_a_payer_s_own_refusal_never_asks_for_another_rail():
    for _, (code, reroute) in REASONS:
        assert code is FailureCode.PROVIDER_ERROR or not reroute
    for code, reroute in CODES.values():
        assert not (code is FailureCode.PAYER_DECLINED and reroute)


# Events.


def signed(body, key="sk_test_key"):
    return {"x-paystack-signature": hmac.new(key.encode(), body, hashlib.sha512).hexdigest()}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("charge.success", {"reference": OURS}),
        ("transfer.failed", {"reference": OURS}),
        ("transfer.reversed", {"reference": OURS}),
        ("charge.dispute.create", {"id": 7, "transaction": {"id": 8, "reference": OURS}}),
        ("refund.failed", {"transaction_reference": OURS, "merchant_note": "by hand"}),
        ("refund.processed", {"merchant_note": f"{OURS} by us"}),
    ],
)
def test_a_signed_event_names_whom_to_ask_about_and_nothing_more(event, data):
    body = msgspec.json.encode({"event": event, "data": data | {"status": "success"}})
    note = read_event(Secret("sk_test_key"), signed(body), body)
    assert (note.reference, note.failure) == (OURS, None)


def test_what_is_not_signed_with_our_key_over_these_very_bytes_is_nothing():
    body = msgspec.json.encode({"event": "charge.success", "data": {"reference": OURS}})
    assert read_event(Secret("sk_test_key"), signed(body, "another"), body) is None
    assert read_event(Secret("sk_test_key"), signed(body), body + b" ") is None
    assert read_event(Secret("sk_test_key"), {}, body) is None
    assert read_event(Secret("sk_test_key"), {"x-paystack-signature": "é"}, body) is None


@given(bodies)
def test_no_signed_body_makes_an_event_raise(body):
    note = read_event(Secret("sk_test_key"), signed(body), body)
    assert note is None or note.reference == OURS
