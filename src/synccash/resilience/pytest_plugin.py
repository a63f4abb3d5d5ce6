"""A pytest plugin, found by pytest where synccash is installed: three fixtures and a setting.

`fake_clock`: a new FakeClock. `fresh_policies`: policies, breakers, budgets, rates and limiters have no past
in the test (`synccash.resilience.testing.fresh`). `policy_clock`: the same, and a FakeClock that all of them
read. With `synccash_fresh_policies = true` in the configuration
of pytest, every test has it, with its fixtures.
"""

from collections.abc import Generator

import pytest

from synccash.resilience.testing import FakeClock, fresh

_SETTING = "synccash_fresh_policies"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting."""
    text = "every test begins with policies, breakers, budgets, rates and limiters that have no past"
    parser.addini(_SETTING, text, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Isolate each test, if the setting says so."""
    if config.getini(_SETTING):
        config.pluginmanager.register(_EachTest(), "synccash_fresh_policies")


class _EachTest:
    # Not `wrapper=True`: pytest 7 may come with a pluggy that refuses it, also where nobody uses the setting.
    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None]:
        with fresh():
            yield


@pytest.fixture
def fresh_policies() -> Generator[None]:
    """Policies, breakers, budgets, rates and limiters have no past in the test."""
    with fresh():
        yield


@pytest.fixture
def policy_clock() -> Generator[FakeClock]:
    """A new FakeClock that all policies read and wait by in the test, which have no past in it."""
    clock = FakeClock()
    with fresh(clock=clock):
        yield clock


@pytest.fixture
def fake_clock() -> FakeClock:
    """A new FakeClock: pass it to policies as `clock=`, and its `sleep` as `sleep=`."""
    return FakeClock()
