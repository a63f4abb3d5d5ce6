"""Each row of the tables in docs/toolkit/migration.md does what it says, on plain and coroutine functions.

A row whose second cell begins with `@Policy(` is evaluated as it stands there, with a fake clock.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from synccash.resilience import (
    AttemptTimeoutError,
    BreakerSettings,
    CircuitOpenError,
    Outcome,
    Policy,
    Retry,
    Verdict,
)
from synccash.resilience.events import Event, RetryScheduled, Transition
from synccash.resilience.testing import FakeClock, attempts, no_wait

PAGE = Path(__file__).parents[2] / "docs" / "toolkit" / "migration.md"
LIBRARIES = ("tenacity", "stamina", "pybreaker")
Try = Callable[["Written"], None]
TRIES: dict[tuple[str, str], Try] = {}


def rows() -> dict[tuple[str, str], str]:
    """Return what to write, by library and the row's first cell."""
    found: dict[tuple[str, str], str] = {}
    for library in LIBRARIES:
        section = PAGE.read_text(encoding="utf-8").split(f"\n## {library}\n")[1].split("\n## ")[0]
        for line in section.splitlines()[2:]:
            if line.startswith("| `"):
                have, write, _ = (cell.strip() for cell in line.strip("|").split(" | ", 2))
                found[library, have] = write.rstrip("| ")
    return found


def trying(library: str, have: str) -> Callable[[Try], Try]:
    """Register what tries a row."""

    def register(function: Try) -> Try:
        TRIES[library, have] = function
        return function

    return register


def is_transient(error: BaseException) -> bool:
    return isinstance(error, ConnectionError)


def none_is_failed(result: object) -> Verdict:
    if isinstance(result, BaseException):
        return Verdict(Outcome.FAILED, retry=isinstance(result, OSError))
    return Verdict(Outcome.FAILED, retry=True) if result is None else Verdict(Outcome.OK)


class Written:
    """What a row says to write, and functions to call under it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.clock = FakeClock()
        self.calls = 0
        self.events: list[Event] = []
        found = re.fullmatch(r"`@(Policy\(.*\))`", text)
        self._source = found[1] if found else 'Policy("x", retry=Retry(on=OSError), on_event=hook)'
        self.policy = self.build()

    def build(self) -> Policy:
        """Return the policy of the row, with a fake clock and the longest waits that jitter allows."""
        clock = self.clock
        fake: Callable[..., Policy] = partial(
            Policy, clock=clock, sleep=clock.sleep, sleep_sync=clock.sleep_sync, random=lambda: 1.0
        )
        names = {"Policy": fake, "Retry": Retry, "BreakerSettings": BreakerSettings}
        names |= {"is_transient": is_transient, "none_is_failed": none_is_failed, "hook": self.events.append}
        return eval(self._source, names)

    def plain(self, *results: object) -> object:
        """Call a decorated plain function that gives these results, the last one again and again."""

        def function(item: int) -> object:
            return self._result(item, results)

        return self._tried(self.policy(function))

    def coroutine(self, *results: object) -> object:
        """Call a decorated coroutine function that gives these results."""

        async def function(item: int) -> object:
            return self._result(item, results)

        decorated = self.policy(function)
        return self._tried(lambda item: asyncio.run(decorated(item)))

    def _result(self, item: int, results: tuple[object, ...]) -> object:
        assert item == 7
        self.calls += 1
        result = results[min(self.calls, len(results)) - 1]
        if isinstance(result, Exception):
            raise result
        return result

    def _tried(self, function: Callable[[int], object]) -> object:
        self.calls = 0
        self.clock.slept.clear()
        try:
            return function(7)
        except Exception as error:
            return error

    def both(self, *results: object) -> list[object]:
        """Call a plain function and a coroutine function, and compare their calls and waits."""
        seen: list[tuple[object, int, list[float]]] = []
        for call in (self.plain, self.coroutine):
            self.policy = self.build()
            seen.append((call(*results), self.calls, list(self.clock.slept)))
        one, other = seen
        assert repr(one) == repr(other)
        return list(one)


def hang_interrupted(written: Written) -> None:
    async def hang() -> None:
        await written.clock.sleep(1_000.0)

    with pytest.raises(AttemptTimeoutError):
        asyncio.run(written.policy.call(hang))
    assert written.clock() == 60.0


def ends_in_time(written: Written, seconds: float, most: int = 1_000_000) -> None:
    """Repeats without success end in time, and no wait begins that would end later."""
    error = written.plain(OSError("down"))
    assert isinstance(error, OSError)
    assert 1 < written.calls <= most
    assert written.clock() < seconds


@trying(
    "tenacity",
    "`@retry(stop=stop_after_attempt(5), wait=wait_random_exponential(0.5, max=30), "
    "retry=retry_if_exception_type(OSError), reraise=True)`",
)
def five_attempts(written: Written) -> None:
    error, calls, waits = written.both(OSError("down"))
    assert (repr(error), calls, waits) == ("OSError('down')", 5, [0.5, 1.0, 2.0, 4.0])
    assert written.both(KeyError("bug"))[1] == 1


@trying("tenacity", "`wait_fixed(2)`")
def fixed_waits(written: Written) -> None:
    assert written.both(OSError())[2] == [2, 2]


@trying("tenacity", "`wait_incrementing(1, 1)`")
def growing_waits(written: Written) -> None:
    assert written.both(OSError())[2] == [1, 2]


@trying("tenacity", "`wait_exponential(0.5, max=30)`")
def doubling_waits(written: Written) -> None:
    assert written.both(OSError())[2] == [0.5, 1.0]


@trying("tenacity", "`retry_if_exception(is_transient)`")
@trying("stamina", "`on=is_transient`")
def a_function_selects(written: Written) -> None:
    assert written.both(ConnectionError(), "ok")[:2] == ["ok", 2]
    assert written.both(FileNotFoundError(), "ok")[1] == 1


@trying("tenacity", "`retry_if_result(is_none)`")
def results_are_judged(written: Written) -> None:
    assert written.both(None, OSError(), "ok")[:2] == ["ok", 3]
    assert written.both(None)[:2] == [None, 3]


@trying("tenacity", "`stop_after_delay(60)` on `async def`")
def a_delay_of_a_coroutine(written: Written) -> None:
    hang_interrupted(written)
    with pytest.raises(TypeError, match="interrupt=False"):
        written.policy(len)


@trying("tenacity", "`stop_after_delay(60)` on `def`")
def a_delay_of_a_function(written: Written) -> None:
    ends_in_time(written, 60.0, most=100)
    assert written.both(OSError(), "ok")[0] == "ok"


@trying("tenacity", "`Retrying(…)(fn, 7)`")
@trying("stamina", "`RetryingCaller(attempts=3).on(OSError)(fn, 7)`")
@trying("pybreaker", "`breaker.call(fn, 7)`")
def a_call(written: Written) -> None:
    assert written.text == "`policy.call_sync(fn, 7)`"
    assert written.policy.call_sync(abs, -7) == 7


@trying("tenacity", "`for attempt in Retrying(…): with attempt:`")
@trying("stamina", "`for attempt in stamina.retry_context(on=OSError): with attempt:`")
@trying("pybreaker", "`with breaker.calling():`")
def a_block(written: Written) -> None:
    assert written.text == "`for attempt in policy.attempts(): with attempt:`"
    numbers: list[int] = []
    for attempt in written.policy.attempts():
        with attempt as number:
            numbers.append(number)
            if number == 1:
                raise OSError
    assert numbers == [1, 2]


@trying("tenacity", "`async for attempt in AsyncRetrying(…): with attempt:`")
def a_block_of_a_coroutine(written: Written) -> None:
    assert written.text == "`async for attempt in policy.attempts(): async with attempt:`"
    numbers: list[int] = []

    async def main() -> None:
        async for attempt in written.policy.attempts():
            async with attempt as number:
                numbers.append(number)
                if number == 1:
                    raise OSError

    asyncio.run(main())
    assert numbers == [1, 2]


@trying("tenacity", "`before_sleep=hook`")
@trying("stamina", "`set_on_retry_hooks([hook])`")
def a_hook(written: Written) -> None:
    assert written.text == "`Policy(…, on_event=hook)`"
    written.both(OSError(), "ok")
    assert [type(one) for one in written.events].count(RetryScheduled) == 2


@trying("tenacity", "`retry_error_callback=…`")
def a_fallback(written: Written) -> None:
    assert written.both(OSError("down"))[1] == 3
    with pytest.raises(OSError, match="down"):
        raise written.both(OSError("down"))[0]  # pyright: ignore[reportGeneralTypeIssues]


@trying("tenacity", "`fetch.retry.statistics`")
def counts_of_retries(written: Written) -> None:
    written.plain(OSError(), "ok")
    seen = written.policy.budget.statistics()
    assert (seen.successes, seen.retries, seen.last_attempts) == (1, 1, 2)


@trying("stamina", "`@stamina.retry(on=OSError, attempts=3, timeout=60)` on `async def`")
def three_attempts_of_a_coroutine(written: Written) -> None:
    written.coroutine(OSError())
    assert written.calls == 3
    written.clock.now = 0.0
    hang_interrupted(written)


@trying("stamina", "`@stamina.retry(on=OSError, attempts=3, timeout=60)` on `def`")
def three_attempts_of_a_function(written: Written) -> None:
    assert written.both(OSError())[1] == 3


@trying("stamina", "`@stamina.retry(on=OSError)`")
def defaults_of_stamina(written: Written) -> None:
    assert written.both(OSError())[1:] == [10, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]]


@trying("stamina", "`attempts=None, timeout=60`")
def until_the_time_out(written: Written) -> None:
    ends_in_time(written, 60.0)


@trying("stamina", "`stamina.set_testing(True)`")
def without_waits(written: Written) -> None:
    assert written.text == "`with no_wait():` and `with attempts(1):`"
    with no_wait():
        assert written.both(OSError())[1:] == [3, []]
    with attempts(1):
        assert written.both(OSError())[1] == 1


@trying("stamina", "`stamina.set_active(False)`")
def inactive(written: Written) -> None:
    assert written.text == "`with attempts(1):`"
    with attempts(1):
        assert written.both(OSError())[1] == 1


@trying("pybreaker", "`CircuitBreaker(fail_max=5, reset_timeout=30)`")
def opens_after_five(written: Written) -> None:
    for call in (written.plain, written.coroutine):
        written.policy = written.build()
        errors = [call(OSError()) for _ in range(5)]
        assert {type(one) for one in errors} == {OSError}
        assert isinstance(call("ok"), CircuitOpenError)
        written.clock.move(33.0)  # up to a tenth is added at random
        assert call("ok") == "ok"


@trying("pybreaker", "`@breaker` on `def`")
def guards_a_function(written: Written) -> None:
    assert [type(written.plain(OSError())) for _ in range(6)] == [OSError] * 5 + [CircuitOpenError]


@trying("pybreaker", "`@breaker` on `async def`")
def guards_a_coroutine(written: Written) -> None:
    assert [type(written.coroutine(OSError())) for _ in range(6)] == [OSError] * 5 + [CircuitOpenError]


def opened() -> Policy:
    policy = Policy("x", breaker=BreakerSettings(failures=1))
    with pytest.raises(ZeroDivisionError):
        policy.call_sync(divmod, 1, 0)
    return policy


@trying("pybreaker", "`CircuitBreakerError`")
def has_facts(written: Written) -> None:
    assert written.text == "`CircuitOpenError`"
    with pytest.raises(CircuitOpenError) as refused:
        opened().call_sync(len, "")
    assert refused.value.retry_after is not None
    assert "1 failures in a row" in refused.value.reason


@trying("pybreaker", "`exclude=[KeyError]`")
def leaves_out(written: Written) -> None:
    assert [type(written.plain(KeyError())) for _ in range(6)] == [KeyError] * 6
    assert [type(written.coroutine(OSError())) for _ in range(6)] == [OSError] * 5 + [CircuitOpenError]


@trying("pybreaker", "`success_threshold=3`")
def three_probes(written: Written) -> None:
    for _ in range(5):
        written.plain(OSError())
    written.clock.move(33.0)
    breaker = written.policy.breaker
    assert breaker is not None
    states = [(written.plain("ok"), breaker.state.value)[1] for _ in range(3)]
    assert states == ["half_open", "half_open", "closed"]


@trying("pybreaker", "`listeners=[…]`")
def listeners(written: Written) -> None:
    assert written.text == "`policy.breaker.listen(fn)`"
    seen: list[Transition] = []
    policy = Policy("x", breaker=BreakerSettings())
    assert policy.breaker is not None
    policy.breaker.listen(seen.append)
    policy.breaker.force_open("test")
    assert [one.after.value for one in seen] == ["forced_open"]


@trying("pybreaker", "`breaker.open()`, `breaker.close()`")
@trying("pybreaker", "`breaker.current_state`, `breaker.fail_counter`")
def by_hand(written: Written) -> None:
    policy = opened()
    one, other = re.findall(r"`([^`]+)`", written.text)
    first, second = (eval(text, {"policy": policy}) for text in (one, other))
    assert policy.breaker is not None
    expected = ("open", 0) if "state" in one else (None, None)
    assert (first, second) == expected
    assert policy.breaker.state.value == ("open" if "state" in one else "closed")


def test_each_row_is_tried():
    assert set(TRIES) == set(rows())


@pytest.mark.parametrize(("library", "have"), list(TRIES))
def test_a_row_does_what_it_says(library: str, have: str):
    TRIES[library, have](Written(rows()[library, have]))
