"""The causes that answers of rails have: the same words at each connector."""

import pytest
from multidict import CIMultiDict

from synccash.payments.causes import CauseCode
from synccash.payments.rail import Operation
from synccash.rails.answers import cause_of_silence
from synccash.rails.http.transport import Exchange, TransportFailure, TransportFault
from synccash.rails.hubtel import answers as hubtel
from synccash.rails.mtn_momo import answers as mtn
from synccash.rails.mtn_momo.connector import read_token
from synccash.rails.pawapay import answers as pawapay
from synccash.rails.paystack import answers as paystack
from synccash.resilience.evidence import Evidence

REFERENCE = "2b1f6d1c-6d1e-4b0f-8a52-2f4f6f4f8c11"
SENDS = {
    "mtn_momo": lambda answer: mtn.judge_send(answer, Operation.COLLECT),
    "hubtel": lambda answer: hubtel.judge_send(answer, Operation.COLLECT),
    "pawapay": lambda answer: pawapay.judge_send(answer, Operation.COLLECT, REFERENCE),
    "paystack": lambda answer: paystack.judge_send(answer, Operation.COLLECT, REFERENCE),
}
INQUIRIES = {
    "mtn_momo": lambda answer: mtn.judge_status(answer, Operation.COLLECT, REFERENCE, "GHS"),
    "hubtel": lambda answer: hubtel.judge_status(answer, Operation.COLLECT, REFERENCE),
    "pawapay": lambda answer: pawapay.judge_status(answer, Operation.COLLECT, REFERENCE, "GHS"),
    "paystack": lambda answer: paystack.judge_status(answer, Operation.COLLECT, REFERENCE),
}
CALLS = [*SENDS.items(), *INQUIRIES.items()]


def silence(fault):
    return TransportFailure(evidence=Evidence.AMBIGUOUS, fault=fault, latency_s=0.0)


def response(status, body=b""):
    return Exchange(status=status, headers=CIMultiDict(), body=body, latency_s=0.0)


@pytest.mark.parametrize("fault", TransportFault)
def test_each_fault_of_the_transport_has_a_code_of_its_own(fault):
    assert cause_of_silence(silence(fault)).code.value == fault.value


@pytest.mark.parametrize("fault", [TransportFault.UNREACHABLE, TransportFault.TIMEOUT])
@pytest.mark.parametrize(("rail", "judge"), CALLS)
def test_a_rail_that_is_down_differs_from_one_that_hangs(rail, judge, fault):
    assert judge(silence(fault)).cause.code.value == fault.value


@pytest.mark.parametrize(("rail", "judge"), CALLS)
def test_a_server_error_is_named_with_its_status(rail, judge):
    cause = judge(response(500)).cause
    assert (cause.code, cause.detail) == (CauseCode.SERVER_ERROR, "HTTP 500")


@pytest.mark.parametrize(("rail", "judge"), CALLS)
def test_refused_credentials_and_too_many_requests_have_codes(rail, judge):
    assert judge(response(401)).cause.code is CauseCode.CREDENTIALS_REFUSED
    assert judge(response(429)).cause.code is CauseCode.RATE_LIMITED


def test_the_rails_own_code_is_the_detail():
    cause = mtn.judge_send(response(503, b'{"code": "SERVICE_UNAVAILABLE"}'), Operation.COLLECT).cause
    assert cause.detail == "HTTP 503 SERVICE_UNAVAILABLE"


def test_a_payer_who_cannot_pay_is_no_cause():
    body = b'{"code": "NOT_ENOUGH_FUNDS"}'
    assert mtn.judge_send(response(400, body), Operation.COLLECT).cause is None


def test_a_missing_access_token_has_the_cause_of_its_own_request():
    assert read_token(silence(TransportFault.TIMEOUT)).cause.code is CauseCode.TIMEOUT
    assert read_token(response(401)).cause.code is CauseCode.CREDENTIALS_REFUSED
    assert read_token(response(500)).cause.code is CauseCode.SERVER_ERROR
