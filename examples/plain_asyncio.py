"""Calls an unreliable service under a policy, with plain asyncio: `python examples/plain_asyncio.py`."""

import asyncio

from synccash.resilience import BreakerSettings, Bulkhead, CircuitOpenError, Policy, Retry


class Rates:
    """A fake network service: while `failing` is True it refuses connections."""

    def __init__(self) -> None:
        self.failing = False
        self.calls = 0

    async def fetch(self, currency: str) -> str:
        """Return the rate of a currency against the US dollar."""
        self.calls += 1
        await asyncio.sleep(0.001)
        if self.failing:
            raise ConnectionRefusedError(currency)
        return "15.2"


async def main() -> list[str]:
    """Call the service while it works, while it fails and while the breaker is open; return the results."""
    rates, lines = Rates(), list[str]()
    policy = Policy(
        "rates",
        retry=Retry(attempts=3, base=0.01, cap=0.1, on=OSError),
        breaker=BreakerSettings(failures=3, open_s=0.2),
        attempt_timeout=1.0,
        total_timeout=3.0,
        bulkhead=Bulkhead(limit=10, queue=100),
    )
    answers = await asyncio.gather(*(policy.call(rates.fetch, "GHS") for _ in range(20)))
    lines.append(f"{len(answers)} answers, {rates.calls} calls")

    rates.failing = True
    try:
        await policy.call(rates.fetch, "GHS")
    except OSError as error:
        lines.append(f"{type(error).__name__} after {rates.calls - 20} calls")

    try:
        await policy.call(rates.fetch, "GHS")
    except CircuitOpenError as error:
        lines.append(f"not called: {error.reason}")
        wait_s = error.retry_after

    rates.failing = False
    await asyncio.sleep(wait_s)
    lines.append(f"recovered: {await policy.call(rates.fetch, 'GHS')}")
    return lines


if __name__ == "__main__":
    print("\n".join(asyncio.run(main())))
