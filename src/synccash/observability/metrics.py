"""Prometheus collectors of the service. They read counts that the process keeps anyway, at each scrape.

Those of breakers and retries are in `prometheus`, because applications without the service use them too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from synccash.engine.ended_orders import EndedOrderCounts
from synccash.engine.leases import HeldLeases
from synccash.engine.ports import Rail
from synccash.middleware.idempotency_coordinator import IdempotencyCounts
from synccash.observability.backlog import Backlog
from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.observability.undelivered import UndeliveredWatch
from synccash.payments.history import DURATION_BOUNDS_S, SUCCESS_GOAL
from synccash.rails.pacer import Paced
from synccash.stores.postgres.pool import Pool
from synccash.stores.valkey.limits.rate_limiter import LimiterCounts


@dataclass(frozen=True, slots=True, eq=False)
class LimiterCollector:
    """`rate_limit_*`: the series of `endpoints` exist from the start."""

    counts: LimiterCounts
    endpoints: Sequence[str]

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
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
            "rate_limit_key_blocked", "Keys that were blocked for a time", value=self.counts.key_blocked
        )
        yield CounterMetricFamily(
            "limiter_degraded", "Decisions without Valkey, by this process alone", value=self.counts.degraded
        )


@dataclass(frozen=True, slots=True, eq=False)
class IdempotencyCollector:
    """`idempotency_*`: what became of requests with keys in this process."""

    counts: Callable[[], IdempotencyCounts]

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        now = self.counts()
        for name, text, value in (
            ("idempotency_cache_hit", "Replays from the cache", now.cache_hit),
            ("idempotency_store_hit", "Replays from PostgreSQL", now.store_hit),
            ("idempotency_joined", "Requests that joined a running one and got its answer", now.joined),
            ("idempotency_new_request", "First requests under a key", now.new_request),
            ("idempotency_key_conflict", "Keys used again with another request", now.key_conflict),
            ("idempotency_in_progress", "Repeats while the first was running", now.in_progress),
            ("idempotency_takeover", "Claims taken over from a lost holder", now.taken_over),
            (
                "idempotency_fenced_off",
                "Answers discarded because another request had taken the claim over",
                now.fenced_off,
            ),
            ("idempotency_replayed_bytes", "Bytes of replayed bodies", now.replayed_bytes),
        ):
            yield CounterMetricFamily(name, text, value=value)


@dataclass(frozen=True, slots=True, eq=False)
class LeaseCollector:
    """`orders_*`: orders that this process works on, and orders that another process took over from it."""

    leases: HeldLeases

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        yield GaugeMetricFamily("orders_under_way", "Orders worked on now", value=self.leases.busy)
        text = "Orders taken over by another process while this one worked on them"
        yield CounterMetricFamily("orders_lost", text, value=self.leases.lost)


@dataclass(frozen=True, slots=True, eq=False)
class PeersCollector:
    """`circuit_breaker_peers`: the number of other live processes that share the breakers."""

    breakers: ClusterBreakers

    def collect(self) -> Iterator[Metric]:
        """Return the series with its present value."""
        text = "Other live processes that share the breakers"
        yield GaugeMetricFamily("circuit_breaker_peers", text, value=self.breakers.live - 1)


@dataclass(frozen=True, slots=True, eq=False)
class LoopCollector:
    """`loop_restarts`: how often each background loop of this process was restarted after an error."""

    restarts: Mapping[str, int]

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        text = "Background loops started again after an error"
        family = CounterMetricFamily("loop_restarts", text, labels=["loop"])
        for loop, count in self.restarts.items():
            family.add_metric([loop], count)
        yield family


@dataclass(frozen=True, slots=True, eq=False)
class BacklogCollector:
    """What waits in the whole service, as this process read it last: every process has the same series.

    They are empty before the first reading and while PostgreSQL is unreachable.
    """

    backlog: Backlog
    undelivered: UndeliveredWatch

    def collect(self) -> Iterator[Metric]:
        """Return all series with their latest counts."""
        labels = ["kind", "why"]
        waiting = GaugeMetricFamily(
            "orders_waiting", "Orders that wait for an operator, by kind and why", labels=labels
        )
        oldest = GaugeMetricFamily(
            "orders_waiting_age_seconds", "How long the oldest of these orders has waited", labels=labels
        )
        for names, found in self.backlog.counted.items():
            waiting.add_metric(names, found.count)
            oldest.add_metric(names, found.oldest_s)
        due = GaugeMetricFamily("orders_due", "Due orders that no process works on", labels=["kind"])
        age = GaugeMetricFamily(
            "orders_due_age_seconds", "How long the oldest of these orders has been due", labels=["kind"]
        )
        for kind, found in self.backlog.due.items():
            due.add_metric([kind], found.count)
            age.add_metric([kind], found.oldest_s)
        webhooks = GaugeMetricFamily("webhook_deliveries_due", "Events that are due to enabled endpoints")
        lag = GaugeMetricFamily(
            "webhook_lag_seconds", "How long the oldest of these events has been due, without its pauses"
        )
        if self.undelivered.lag is not None:
            webhooks.add_metric([], self.undelivered.lag.count)
            lag.add_metric([], self.undelivered.lag.oldest_s)
        reachable = GaugeMetricFamily(
            "database_reachable",
            "1 if PostgreSQL answered this process's latest count of the backlog, else 0",
        )
        if self.backlog.is_reachable is not None:
            reachable.add_metric([], self.backlog.is_reachable)
        yield from (waiting, oldest, due, age, webhooks, lag, reachable)


@dataclass(frozen=True, slots=True, eq=False)
class EndedOrdersCollector:
    """`orders_*` and `order_*`: the orders that this process ended. The sum over all processes is the
    service's."""

    counts: EndedOrderCounts

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        ended = CounterMetricFamily(
            "orders_ended",
            "Orders that ended, by how; empty labels stand for none, and refunds have no network",
            labels=["mode", "kind", "rail", "network", "status", "failure_code"],
        )
        # A copy, because a scrape may run in another thread than the loop.
        for one, count in list(self.counts.orders.items()):
            names = [one.mode, one.kind, one.rail, one.network, one.status, one.failure_code]
            ended.add_metric(names, count)
        goals = CounterMetricFamily(
            "orders_goal",
            "Ended orders by what they mean for the success goal; excluded: the payer or merchant ended them",
            labels=["mode", "kind", "result"],
        )
        for names, count in self.counts.goals.items():
            goals.add_metric(names, count)
        took = HistogramMetricFamily(
            "order_time_to_end_seconds", "From an order's creation to its end", labels=["kind", "status"]
        )
        for names, durations in self.counts.durations.items():
            below = accumulate(durations.buckets)
            bounds = (*(f"{bound:g}" for bound in DURATION_BOUNDS_S), "+Inf")
            took.add_metric(names, list(zip(bounds, map(float, below), strict=True)), durations.seconds)
        contradictions = CounterMetricFamily(
            "orders_contradictions",
            "Reports of a rail that contradict what was recorded of an order",
            labels=["kind"],
        )
        for kind, count in self.counts.contradictions.items():
            contradictions.add_metric([kind], count)
        goal = GaugeMetricFamily(
            "orders_success_goal", "The share met / (met + missed) that should be reached", value=SUCCESS_GOAL
        )
        yield from (ended, goals, took, contradictions, goal)


@dataclass(frozen=True, slots=True, eq=False)
class ProcessCollector:
    """The version and role of this process, and the use of its PostgreSQL connections."""

    role: Literal["api", "worker", "webhooks"]
    pool: Pool

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        build = GaugeMetricFamily(
            "synccash_build_info",
            "1, with the version and the role of the process",
            labels=["version", "role"],
        )
        build.add_metric([version("synccash"), self.role], 1)
        used = GaugeMetricFamily(
            "database_connections", "Open PostgreSQL connections of this process", labels=["state"]
        )
        idle = self.pool.get_idle_size()
        used.add_metric(["in_use"], self.pool.get_size() - idle)
        used.add_metric(["idle"], idle)
        yield from (build, used)
        yield GaugeMetricFamily(
            "database_connections_max",
            "PostgreSQL connections that this process may open",
            value=self.pool.get_max_size(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FloatCollector:
    """`rail_float_*` by `rail`: the latest report of each rail. A rail that reports none has no series."""

    shown: Callable[[], Sequence[Mapping[str, Any]]]

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        known = [one for one in self.shown() if one["age_s"] is not None]
        floats = GaugeMetricFamily(
            "rail_float_pesewas",
            "What a rail's account can pay out; network is empty where one wallet pays for all",
            labels=["rail", "network"],
        )
        ages = GaugeMetricFamily("rail_float_age_seconds", "Since the float was last read", labels=["rail"])
        for one in known:
            if one["float"] is not None:
                floats.add_metric([one["rail"], ""], one["float"])
            for network, amount in one["by_network"].items():
                floats.add_metric([one["rail"], network], amount)
            ages.add_metric([one["rail"]], one["age_s"])
        yield floats
        yield ages


@dataclass(frozen=True, slots=True, eq=False)
class InquiryCollector:
    """`inquiries_*` by `rail`: the series of all configured rails exist from the start."""

    rails: Mapping[str, Rail]

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        text = "Looks back at closed attempts given up because the rail's rate was used up"
        family = CounterMetricFamily("inquiries_shed", text, labels=["rail"])
        for name, rail in sorted(self.rails.items()):
            family.add_metric([name], rail.inquiries_shed if isinstance(rail, Paced) else 0)
        yield family


@dataclass(frozen=True, slots=True, eq=False)
class SignInCollector:
    """`operator_sign_ins_total`: sign-ins of operators in this process, by outcome."""

    counts: Mapping[str, int]

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        family = CounterMetricFamily(
            "operator_sign_ins", "Sign-ins of operators, by outcome", labels=["outcome"]
        )
        for outcome, count in self.counts.items():
            family.add_metric([outcome], count)
        yield family
