"""The public API of the toolkit changes only together with public_api.txt."""

import inspect
import pkgutil
import pydoc
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import synccash.resilience
from resilience.public_api import PAGE, page
from synccash.resilience import (
    BreakerSettings,
    CircuitBreaker,
    Outcome,
    Policy,
    claims,
    providers,
    rate_limiter,
    stored_answers,
)


def test_public_names_and_signatures_equal_the_recorded_ones():
    assert page() == PAGE.read_text(encoding="utf-8"), (
        "to change the public API on purpose, run python tests/resilience/public_api.py"
    )


def test_the_package_exports_at_most_eighteen_names_and_all_exist():
    names = synccash.resilience.__all__
    assert len(names) <= 18
    assert len(set(names)) == len(names)
    assert all(hasattr(synccash.resilience, name) for name in names)


def test_the_provider_functions_can_be_imported_from_the_package():
    names = {"get_provider_circuit_breaker", "retry_payment_provider_call", "enhanced_retry_service"}
    assert names <= set(synccash.resilience.__all__)
    assert all(getattr(synccash.resilience, name) is getattr(providers, name) for name in names)


def test_earlier_names_of_the_breakers_methods_work_and_warn():
    breaker = CircuitBreaker("rates", BreakerSettings(failures=2))
    with pytest.warns(DeprecationWarning, match=r"enter is now CircuitBreaker\.acquire") as warned:
        permit = breaker.enter()
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r"drop is now CircuitBreaker\.release"):
        breaker.drop(permit)
    with pytest.warns(DeprecationWarning, match=r"leave is now CircuitBreaker\.record"):
        breaker.leave(permit, Outcome.FAILED, 0.1, error="down")
    with pytest.warns(DeprecationWarning, match=r"note is now CircuitBreaker\.observe"):
        breaker.note(Outcome.FAILED, 0.1, error="down")
    assert breaker.reason == "2 failures in a row; last: down"


def public_objects() -> Iterator[tuple[str, object]]:
    """Every public class, function, method and property of the public modules of the toolkit."""
    for module in pkgutil.iter_modules(synccash.resilience.__path__, "synccash.resilience."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        found = import_module(module.name)
        yield module.name, found
        for name, value in vars(found).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.name:
                continue
            if isinstance(value, type) or inspect.isfunction(value):
                yield f"{module.name}.{name}", value
            if isinstance(value, type):
                yield from (
                    (f"{module.name}.{name}.{member}", getattr(value, member))
                    for member, one in vars(value).items()
                    if not member.startswith("_")
                    and (
                        inspect.isfunction(one)
                        or isinstance(one, property)
                        or member in ("call", "call_sync")
                    )
                )


def test_help_of_every_public_object_says_something():
    objects = dict(public_objects())
    assert "synccash.resilience.policy.Policy.call" in objects
    assert [name for name, value in objects.items() if not inspect.getdoc(value)] == []
    policy = Policy("rates")
    assert inspect.getdoc(policy.call) == inspect.getdoc(Policy.call)
    shown = pydoc.render_doc(policy.call, renderer=pydoc.plaintext)
    assert re.search(r"call\(\s*fn", shown)  # newer versions of Python wrap long signatures


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
    decision = rate_limiter.MemoryLimiter().check(())
    assert decision.standings is decision.statuses
