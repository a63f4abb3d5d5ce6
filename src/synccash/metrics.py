"""What the gate counted, as Prometheus series. Integers are read at the scrape; nothing is pushed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from synccash.middleware.once import Counts
from synccash.stores.valkey.rate_limiter import LimiterCounts


@dataclass(frozen=True, slots=True, eq=False)
class LimiterCollector:
    """`rate_limit_*`: the series of `endpoints` exist from the start."""

    counts: LimiterCounts
    endpoints: Sequence[str]

    def collect(self) -> Iterator[Metric]:
        """All series as they stand now."""
        for name, text, counted in (
            ("rate_limit_allowed", "Requests that every limit granted", self.counts.allowed),
            ("rate_limit_blocked", "Requests that a limit refused", self.counts.blocked),
            (
                "rate_limit_shadowed",
                "Requests that a limit in shadow mode would refuse",
                self.counts.shadowed,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=["endpoint"])
            for endpoint in dict.fromkeys((*self.endpoints, "other", *counted)):
                family.add_metric([endpoint], counted[endpoint])
            yield family
        yield CounterMetricFamily(
            "rate_limit_key_blocked", "Keys that were shut out for a while", value=self.counts.key_blocked
        )
        yield CounterMetricFamily(
            "limiter_degraded", "Decisions without Valkey, by this process alone", value=self.counts.degraded
        )


@dataclass(frozen=True, slots=True, eq=False)
class IdempotencyCollector:
    """`idempotency_*`: what requests under a key came to in this process."""

    counts: Callable[[], Counts]

    def collect(self) -> Iterator[Metric]:
        """All series as they stand now."""
        now = self.counts()
        for name, text, value in (
            ("idempotency_cache_hit", "Replays from the cache", now.cache_hit),
            ("idempotency_store_hit", "Replays from PostgreSQL", now.store_hit),
            ("idempotency_joined", "Replays of a request that ran beside", now.joined),
            ("idempotency_new_request", "First requests under a key", now.new_request),
            ("idempotency_key_conflict", "Keys used again with another request", now.key_conflict),
            ("idempotency_in_progress", "Repeats while the first was running", now.in_progress),
            ("idempotency_takeover", "Claims taken over from a lost holder", now.taken_over),
            ("idempotency_fenced_off", "Answers discarded because another had taken over", now.fenced_off),
            ("idempotency_replayed_bytes", "Bytes of replayed bodies", now.replayed_bytes),
        ):
            yield CounterMetricFamily(name, text, value=value)
