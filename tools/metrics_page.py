"""Writes docs/metrics.md from the collectors of each process: `python tools/metrics_page.py`."""
# ruff: noqa: E501 - paragraphs of Markdown are one line

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from synccash.api.http_counts import HttpCounts
from synccash.api.metrics import HttpCollector
from synccash.engine.ended_orders import END_STATUSES, MODES
from synccash.observability.backlog import KINDS
from synccash.payments.failure import FailureCode
from synccash.payments.history import DURATION_BOUNDS_S, SUCCESS_GOAL, GoalResult
from synccash.payments.payer import Network
from synccash.payments.payment import OrderKind
from synccash.processes.api import api_collectors
from synccash.processes.assembly.service import assembled
from synccash.processes.callback_filter import CallbackFilter
from synccash.processes.fair_queue import FairQueue
from synccash.processes.housekeeping import Housekeeping
from synccash.processes.webhooks import webhook_collectors, webhook_service
from synccash.processes.worker import worker_collectors
from synccash.rails.registry import RAILS
from synccash.settings.loader import Settings

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """\
# Metrics
Generated from the collectors of the processes by `python tools/metrics_page.py`; a test compares them.

**Where.** The API serves `/metrics` on its own port. Where several API processes share that port, each request reaches any one of them, so give each a port of its own: `metrics_port`. With `synccash up --workers 3` and `SYNCCASH_METRICS_PORT=9100` they are 9100, 9101 and 9102. A worker has `worker_port`, a webhooks process `webhook_port`. `deploy/prometheus/prometheus.yml` scrapes one of each.

**How to read them.** A counter belongs to one process and begins at 0 with it: add the processes up (`sum(rate(…))`). The series of the backlog describe the whole service, and every API process and worker has the same: take one (`max(…)`). An order counts in `orders_ended_total` in the process that wrote its end, whichever that was.

**The goal** is that {goal:.1%} of the orders succeed, of those that neither the payer nor the merchant ended: `orders_goal_total` with `result="met"`, divided by those with `met` or `missed`. Failure codes that are the payer's or the merchant's problem, and canceled payments, are `excluded`.

**Alerts and dashboards.** `deploy/prometheus/synccash.rules.yml` has alerts, each with the paragraph of [Each alarm](how-to/alarms.md) that says what to do. `deploy/grafana` has dashboards. `make test-prometheus` checks all their queries, and fires an alert on a running service.

**History without Prometheus.** Workers count ended orders by minute in PostgreSQL, and keep the counts for 35 days: `synccash history`, `GET /api/v1/admin/history`. They have the labels of `orders_ended_total`, and durations in the same buckets: up to {bounds} seconds, and longer.

## Labels
No label holds a value of a merchant or a payer. An empty value stands for none.

| label | values |
|---|---|
"""
TABLE = """
## {title}
| metric | type | labels | meaning |
|---|---|---|---|
"""


def _words(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


LABELS: Mapping[str, str] = {
    "endpoint": "the endpoints of [rate limits](operating.md#a-customer-is-blocked), and `other`",
    "event": "the kinds of events of the toolkit ([Observability](toolkit/observability.md))",
    "failure_code": _words(sorted(FailureCode)),
    "kind": _words(list(OrderKind)),
    "le": "upper bounds of a histogram's buckets",
    "loop": "the background loops of the code",
    "method": "methods of the API's routes, and `other`",
    "mode": _words(MODES),
    "network": _words(sorted(Network)),
    "outcome": "outcomes of sign-ins",
    "rail": _words(sorted(RAILS)),
    "reason": "why a callback was ignored",
    "result": f"{_words(list(GoalResult))}; of queued requests `admitted` and `refused`",
    "role": "`api`, `worker`, `webhooks`",
    "route": "path templates of the API, and `none`",
    "service": "`MTN_MOMO` is a rail's collect breaker, `MTN_MOMO:STATUS` that of another operation; "
    "`DATABASE`, `FRAUD`, `VALKEY:…`",
    "state": "`in_use`, `idle`",
    "status": f"of orders {_words(END_STATUSES)}; of requests `2xx`, `4xx`, `5xx`",
    "version": "the version of the package",
    "why": _words(sorted({why for _, why in KINDS})),
}
"""Every label with its closed list of values."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name in queries, its type, its labels and its meaning."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def families(collectors: Sequence[Collector]) -> list[Family]:
    """Return the metrics of these collectors, by name."""
    found = [_family(metric) for collector in collectors for metric in collector.collect()]
    return sorted(found, key=lambda family: family.name)


def _family(metric: Metric) -> Family:
    # The label names are known before the first sample only here.
    labels = tuple(getattr(metric, "_labelnames", ()))
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    return Family(name, metric.type, labels, metric.documentation)


async def roles() -> dict[str, list[Family]]:
    """Return the metrics of each role. Nothing is connected: PostgreSQL and Valkey are not reachable."""
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none",  # pyright: ignore[reportArgumentType]
        installation_key="5c" * 32,  # pyright: ignore[reportArgumentType]
        encryption_keys="1:" + "e1" * 32,  # pyright: ignore[reportArgumentType]
        lookup_key="e2" * 32,  # pyright: ignore[reportArgumentType]
    )
    url = "postgresql://nobody@127.0.0.1:1/none"
    async with assembled(settings, url) as service, webhook_service(settings, url) as delivering:
        layers = (
            HttpCollector(HttpCounts()),
            CallbackFilter(service.engine.token_origin, service.guard.address),
            FairQueue(lambda _: None),
        )
        return {
            "API processes": families([*api_collectors(service), *layers]),
            "Workers": families(worker_collectors(service, Housekeeping(service.claims, 1.0))),
            "Webhooks processes": families(webhook_collectors(delivering)),
        }


def page() -> str:
    """Return the text of the page."""
    of_roles = asyncio.run(roles())
    return "".join(_parts(of_roles))


def _parts(of_roles: Mapping[str, Sequence[Family]]) -> Iterator[str]:
    used = {label for found in of_roles.values() for family in found for label in family.labels} | {"le"}
    yield HEAD.format(goal=SUCCESS_GOAL, bounds=", ".join(f"{bound:g}" for bound in DURATION_BOUNDS_S))
    yield from (f"| `{label}` | {LABELS[label]} |\n" for label in sorted(used))
    by_roles: dict[tuple[str, ...], list[Family]] = {}
    for family in sorted({one for found in of_roles.values() for one in found}, key=lambda one: one.name):
        having = tuple(role for role, found in of_roles.items() if family in found)
        by_roles.setdefault(having, []).append(family)
    for having, found in sorted(by_roles.items(), key=lambda item: -len(item[0])):
        yield TABLE.format(title=" and ".join(having))
        for one in found:
            labels = ", ".join(f"`{label}`" for label in one.labels)
            yield f"| `{one.name}` | {one.type} | {labels} | {one.meaning} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
