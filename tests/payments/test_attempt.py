from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_samples import NO_FUNDS, NOW, PREPARED
from synccash.payments.attempt import TRANSITIONS, Attempt, AttemptState
from synccash.payments.failure import Failure
from synccash.payments.rail import RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence


def send(attempt: Attempt, evidence: Evidence, failure: Failure | None = None) -> Attempt:
    return attempt.after_send(SendAnswer(evidence=evidence, failure=failure), evidence, now=NOW, latency_ms=5)


def ask(attempt: Attempt, status_at_rail: RailStatus, **more: object) -> Attempt:
    return attempt.after_inquiry(StatusAnswer(status_at_rail=status_at_rail, **more))


def test_every_state_that_is_not_an_end_has_a_rule_for_whatever_is_said():
    for state in AttemptState:
        for word in (*Evidence, *RailStatus):
            assert ((state, word) in TRANSITIONS) is (not state.is_final)


def test_silence_never_kills_an_attempt():
    for word in (Evidence.AMBIGUOUS, RailStatus.NOT_FOUND, RailStatus.NO_INFORMATION, RailStatus.PENDING):
        for state in (AttemptState.PREPARED, AttemptState.UNKNOWN, AttemptState.ACKNOWLEDGED):
            assert not TRANSITIONS[state, word].is_final


def test_a_refusal_after_an_ambiguous_send_proves_nothing():
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


def test_asking_about_a_prepared_attempt_counts_it_as_sent():
    assert ask(PREPARED, RailStatus.NOT_FOUND).state is AttemptState.UNKNOWN
    assert ask(PREPARED, RailStatus.NOT_FOUND).evidence is Evidence.AMBIGUOUS


def test_what_the_rail_says_it_received_is_what_was_received():
    assert ask(PREPARED, RailStatus.SUCCEEDED).amount_received == 2500
    assert ask(PREPARED, RailStatus.SUCCEEDED, amount=2500).amount_received == 2500
    assert ask(PREPARED, RailStatus.FAILED, failure=NO_FUNDS, amount=2500).amount_received == 0


words = st.one_of(st.sampled_from(Evidence), st.sampled_from(RailStatus))


@given(st.lists(words, max_size=12))
def test_ends_absorb_and_evidence_never_gets_weaker(said: list[Evidence | RailStatus]):
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
