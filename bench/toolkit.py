"""What a call costs under the resilience toolkit."""

import asyncio

from bench.measure import overhead
from bench.report import Report
from synccash.resilience import BreakerSettings, Policy


async def nothing() -> None:
    """The bare call."""


def run(report: Report) -> None:
    """Measure the overhead of a call."""
    policy = Policy("bench", breaker=BreakerSettings(failure_rate=0.5, slow_rate=0.5))
    measured = asyncio.run(overhead({"breaker": lambda: policy.call(nothing)}, bare=nothing))
    report.table("async", ("", "ns"), [(name, one.ns) for name, one in measured.items()])
    for name, one in measured.items():
        report.add(name, one.ns, "ns")
