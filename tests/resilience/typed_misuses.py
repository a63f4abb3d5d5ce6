"""Code that type checkers must reject: each line marked `# wrong` and no other. Checked, never run."""

from collections.abc import Callable

from synccash.resilience import BreakerSettings, CircuitBreaker, Policy, Retry, Verdict
from synccash.resilience.providers import retry_payment_provider_call

policy = Policy("rates", retry=Retry(on=OSError))


async def fetch(currency: str) -> float:
    return float(len(currency))


def read(name: str) -> list[str]:
    return [name]


def accepts_only_os_error(error: OSError) -> bool:
    return error.errno is not None


def returns_a_string(result: object) -> str:
    return str(result)


decorated: Callable[[int], object] = policy(read)  # wrong


async def mistakes() -> None:
    await policy.call(read, "a.csv")  # wrong
    await policy.call(fetch)  # wrong
    await policy.call(fetch, 7)  # wrong
    await policy.call(fetch, "GHS", day=1)  # wrong
    policy.call_sync(read, 7)  # wrong
    number: int = await policy.call(fetch, "GHS")  # wrong
    await policy(fetch)(number)  # wrong
    await retry_payment_provider_call(fetch, "MTN_MOMO", 7)  # wrong
    await retry_payment_provider_call(read, "MTN_MOMO", "x")  # wrong


Retry(on=OSError())  # wrong
Retry(on="OSError")  # wrong
Retry(on=accepts_only_os_error)  # wrong
Retry(strategy="quadratic", on=OSError)  # wrong
Retry(jitter="some", on=OSError)  # wrong
Retry(3, on=OSError)  # wrong
BreakerSettings(mode="off")  # wrong
BreakerSettings(failures="3")  # wrong
Policy(name="rates")  # wrong
Policy("rates", classify=returns_a_string)  # wrong
Policy("rates", bulkhead=7)  # wrong
Policy("rates", timeout=1.0)  # wrong
Verdict("ok")  # wrong
CircuitBreaker("rates").retry = 1  # wrong
Retry(on=OSError).attempts = 5  # wrong
