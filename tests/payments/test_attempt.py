from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_samples import NO_FUNDS, NOW, PREPARED
from synccash.payments.attempt import TRANSITIONS, Attempt, AttemptState
from synccash.payments.errors import IllegalTransitionError, InternalError
from synccash.payments.failure import Failure
from synccash.payments.rail import RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence


def send(attempt: Attempt, evidence: Evidence, failure: Failure | None = None) -> Attempt:
    return attempt.after_send(SendAnswer(evidence=evidence, failure=failure), evidence, now=NOW, latency_ms=5)


def ask(attempt: Attempt, status_at_rail: RailStatus, **more: object) -> Attempt:
    return attempt.after_inquiry(StatusAnswer(status_at_rail=status_at_rail, **more))


def test_every_open_state_has_a_rule_for_each_evidence_and_each_status_at_the_rail():
    for state in AttemptState:
        for word in (*Evidence, *RailStatus):
            assert ((state, word) in TRANSITIONS) is (not state.is_final)


def test_an_ambiguous_or_missing_answer_never_ends_an_attempt():
    for word in (Evidence.AMBIGUOUS, RailStatus.NOT_FOUND, RailStatus.NO_INFORMATION, RailStatus.PENDING):
        for state in (AttemptState.PREPARED, AttemptState.UNKNOWN, AttemptState.ACKNOWLEDGED):
            assert not TRANSITIONS[state, word].is_final


def test_a_refusal_after_an_ambiguous_send_is_not_final():
    unknown = send(PREPARED, Evidence.AMBIGUOUS)
    for later in (Evidence.NOT_SENT, Evidence.REFUSED_LATER, Evidence.REFUSED_FINAL):
        again = send(unknown, later, NO_FUNDS)
        assert again.state is AttemptState.UNKNOWN
        assert again.evidence is Evidence.AMBIGUOUS
        assert again.failure is None


def test_a_refusal_of_the_only_send_ever_made_is_final():
    assert send(PREPARED, Evidence.REFUSED_FINAL, NO_FUNDS).state is AttemptState.DECLINED
    assert send(PREPARED, Evidence.REFUSED_LATER).state is AttemptState.NOT_SENT
    assert send(PREPARED, Evidence.NOT_SENT).state is AttemptState.NOT_SENT


def test_a_send_of_an_attempt_that_has_ended_is_illegal():
    ended = send(PREPARED, Evidence.REFUSED_FINAL, NO_FUNDS)
    with pytest.raises(IllegalTransitionError, match=f"{PREPARED.id} is declined, and the event accepted"):
        send(ended, Evidence.ACCEPTED)


def test_only_an_attempt_with_unknown_outcome_can_be_closed_as_not_found():
    unknown, acknowledged = send(PREPARED, Evidence.AMBIGUOUS), send(PREPARED, Evidence.ACCEPTED)
    assert unknown.closed_as_not_found(NO_FUNDS).state is AttemptState.DECLINED
    for attempt in (PREPARED, acknowledged, ask(acknowledged, RailStatus.SUCCEEDED)):
        with pytest.raises(IllegalTransitionError):
            attempt.closed_as_not_found(NO_FUNDS)


def test_money_is_late_only_for_an_attempt_that_was_closed():
    answer = StatusAnswer(status_at_rail=RailStatus.SUCCEEDED)
    closed = send(PREPARED, Evidence.REFUSED_FINAL, NO_FUNDS).with_late_money(2500, answer, now=NOW)
    assert (closed.state, closed.amount_received) == (AttemptState.DECLINED, 2500)
    for attempt in (PREPARED, ask(PREPARED, RailStatus.SUCCEEDED)):
        with pytest.raises(InternalError, match="not closed"):
            attempt.with_late_money(2500, answer, now=NOW)


def test_asking_about_a_prepared_attempt_counts_it_as_sent():
    assert ask(PREPARED, RailStatus.NOT_FOUND).state is AttemptState.UNKNOWN
    assert ask(PREPARED, RailStatus.NOT_FOUND).evidence is Evidence.AMBIGUOUS


def test_the_amount_received_is_the_amount_the_rail_reports():
    assert ask(PREPARED, RailStatus.SUCCEEDED).amount_received == 2500
    assert ask(PREPARED, RailStatus.SUCCEEDED, amount=2500).amount_received == 2500
    assert ask(PREPARED, RailStatus.FAILED, failure=NO_FUNDS, amount=2500).amount_received == 0


words = st.one_of(st.sampled_from(Evidence), st.sampled_from(RailStatus))


@given(st.lists(words, max_size=12))
def test_final_states_absorb_events_and_evidence_never_weakens(said: list[Evidence | RailStatus]):
    attempt = PREPARED
    for word in said:
        before = attempt
        if isinstance(word, Evidence):
            if before.state.is_final:
                continue
            attempt = send(before, word, NO_FUNDS)
        else:
            attempt = ask(before, word, failure=NO_FUNDS)
        if before.state.is_final:
            assert attempt == before
        assert (
            (attempt.evidence is None)
            or (before.evidence is None)
            or (attempt.evidence.danger >= before.evidence.danger)
        )
        if attempt.state.is_dead and attempt.evidence is Evidence.AMBIGUOUS:
            pytest.fail("an attempt died though nobody knows what became of it")


@given(st.sampled_from(Evidence), st.sampled_from(Evidence))
def test_the_worst_of_two_sends_is_the_more_dangerous_in_either_order(one: Evidence, other: Evidence):
    assert one.worst(other) is other.worst(one)
    assert one.worst(other).danger == max(one.danger, other.danger)
    assert Evidence.AMBIGUOUS.proves_nothing_happened is False
    assert replace(PREPARED).evidence is None
