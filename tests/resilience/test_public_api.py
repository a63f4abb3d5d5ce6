"""The public API of the toolkit changes only together with public_api.txt."""

import synccash.resilience
from resilience.public_api import PAGE, page
from synccash.resilience import claims, rate_limiter, stored_answers


def test_public_names_and_signatures_equal_the_recorded_ones():
    assert page() == PAGE.read_text(encoding="utf-8"), (
        "to change the public API on purpose, run python tests/resilience/public_api.py"
    )


def test_the_package_exports_at_most_fifteen_names_and_all_exist():
    names = synccash.resilience.__all__
    assert len(names) <= 15
    assert len(set(names)) == len(names)
    assert all(hasattr(synccash.resilience, name) for name in names)


def test_earlier_names_are_the_same_objects():
    assert (claims.Answer, claims.Record, claims.Decision) == (
        claims.ClaimAnswer,
        claims.ClaimRecord,
        claims.ClaimDecision,
    )
    assert (stored_answers.packed, stored_answers.unpacked) == (
        stored_answers.encode_answer,
        stored_answers.decode_answer,
    )
    assert rate_limiter.units is rate_limiter.unit_demands
    breaker = synccash.resilience.CircuitBreaker
    assert (breaker.enter, breaker.leave, breaker.drop, breaker.note) == (
        breaker.acquire,
        breaker.record,
        breaker.release,
        breaker.observe,
    )
    decision = rate_limiter.MemoryLimiter().check(())
    assert decision.standings is decision.statuses
