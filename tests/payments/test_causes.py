"""The vocabulary of causes: each code has a sentence and an action, and a detail holds nothing personal."""

import pytest

from synccash.payments.causes import Cause, CauseCode, action_for, cause_with
from synccash.payments.rail import FloatAnswer, RailStatus, SendAnswer, StatusAnswer, cause_of
from synccash.resilience.evidence import Evidence


@pytest.mark.parametrize("code", CauseCode)
def test_every_code_has_a_sentence_and_an_action(code):
    cause = Cause(code)
    assert cause.message.endswith(".")
    assert cause.action.endswith(".")
    assert action_for(code.value) == cause.action


def test_a_sentence_names_its_detail():
    found = cause_with(CauseCode.SERVER_ERROR, "HTTP 503 SERVICE_UNAVAILABLE")
    assert found.message == "The rail answers with a server error (HTTP 503 SERVICE_UNAVAILABLE)."


@pytest.mark.parametrize("text", ["0244123456 has no wallet", "<html>", "233244123456", "x" * 65, ""])
def test_a_detail_that_is_no_short_code_is_left_out(text):
    assert cause_with(CauseCode.REJECTED, text).detail is None


def test_other_words_have_no_action():
    assert action_for("TimeoutError") is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (SendAnswer(evidence=Evidence.ACCEPTED), None),
        (SendAnswer(evidence=Evidence.AMBIGUOUS), CauseCode.UNREADABLE),
        (SendAnswer(evidence=Evidence.REFUSED_LATER, provider_code="BUSY"), CauseCode.REJECTED),
        (SendAnswer(evidence=Evidence.NOT_SENT, refused_locally=True), CauseCode.NOT_ALLOWED_HERE),
        (StatusAnswer(status_at_rail=RailStatus.PENDING), None),
        (StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION), CauseCode.UNREADABLE),
        (FloatAnswer(available={}), None),
        (FloatAnswer(is_fault=True), CauseCode.SERVER_ERROR),
    ],
)
def test_an_answer_of_a_connector_that_names_no_cause_has_one_by_what_it_proves(answer, code):
    found = cause_of(answer)
    assert (None if found is None else found.code) == code
