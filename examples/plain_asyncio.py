"""Calls of an unreliable service with nothing but asyncio: `python examples/plain_asyncio.py`."""

import asyncio

from synccash.resilience import BreakerSettings, Bulkhead, CircuitOpenError, Policy, Retry


class Rates:
    """Stands for a service over the network: `sick` makes it refuse."""

    def __init__(self) -> None:
        self.sick = False
        self.asked = 0

    async def fetch(self, currency: str) -> str:
        """Return the rate of a currency against the US dollar."""
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.sick:
            raise ConnectionRefusedError(currency)
        return "15.2"


async def main() -> list[str]:
    """Ask in good times, in bad ones, and while the breaker is open; return what was said."""
    rates, said = Rates(), list[str]()
    policy = Policy(
        "rates",
        retry=Retry(attempts=3, base=0.01, cap=0.1, on=OSError),
        breaker=BreakerSettings(failures=3, open_s=0.2),
        attempt_timeout=1.0,
        total_timeout=3.0,
        bulkhead=Bulkhead(limit=10, queue=100),
    )
    answers = await asyncio.gather(*(policy.call(rates.fetch, "GHS") for _ in range(20)))
    said.append(f"{len(answers)} answers, {rates.asked} calls")

    rates.sick = True
    try:
        await policy.call(rates.fetch, "GHS")
    except OSError as error:
        said.append(f"{type(error).__name__} after {rates.asked - 20} calls")

    try:
        await policy.call(rates.fetch, "GHS")
    except CircuitOpenError as error:
        said.append(f"not asked: {error.reason}")
        wait_s = error.retry_after

    rates.sick = False
    await asyncio.sleep(wait_s)
    said.append(f"back again: {await policy.call(rates.fetch, 'GHS')}")
    return said


if __name__ == "__main__":
    print("\n".join(asyncio.run(main())))
