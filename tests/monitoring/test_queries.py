"""Alert rules and dashboards read series that a running installation has, and each alert says what to do.

`make test-prometheus` checks the same files with Prometheus itself.
"""

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from docs.test_references import anchors
from monitoring.queries import (
    OF_PROMETHEUS,
    ROOT,
    RULE_TESTS,
    Sample,
    Selector,
    alerts,
    queries,
    rules,
    samples,
    selectors,
)
from service.installation import Installation, wait_until
from synccash.local.free_ports import free_run_of_ports

API_PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Scrapes:
    """What each process of an installation serves, by its port."""

    by_port: dict[int, list[Sample]]

    @property
    def all(self) -> list[Sample]:
        return [sample for found in self.by_port.values() for sample in found]

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of a series in all processes."""
        wanted = labels.items()
        return [one.value for one in self.all if one.name == name and wanted <= one.labels.items()]


def scraped(port: int) -> list[Sample]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return samples(reply.read().decode())


@pytest.fixture(scope="module")
def scrapes(tmp_path_factory) -> Iterator[Scrapes]:
    """An installation with two API processes that share a port, and that has moved money, well and not."""
    first = free_run_of_ports(API_PROCESSES + 2)
    settings = {
        "SYNCCASH_WORKERS": str(API_PROCESSES),
        "SYNCCASH_METRICS_PORT": str(first),
        "SYNCCASH_WORKER_PORT": str(first + API_PROCESSES),
        "SYNCCASH_WEBHOOK_PORT": str(first + API_PROCESSES + 1),
    }
    up = Installation.start(tmp_path_factory.mktemp("monitored"), **settings)
    try:
        for _ in range(4):
            assert up.ended(up.pay().body["id"])["status"] == "succeeded"
        up.faults(failed_then_success_rate=1)
        assert up.ended(up.pay().body["id"])["status"] == "failed"
        read_later = {"orders_due", "webhook_lag_seconds", "rail_float_pesewas"}

        def complete() -> Scrapes | None:
            found = Scrapes({port: scraped(port) for port in range(first, first + API_PROCESSES + 2)})
            return found if read_later <= {sample.name for sample in found.all} else None

        yield wait_until("the backlog and the floats are read", complete)
    finally:
        up.stop()


@pytest.fixture
def scrape(scrapes: Scrapes) -> list[Sample]:
    return scrapes.all


def test_each_process_of_a_host_serves_its_own_part_of_the_whole(scrapes):
    roles = [one.labels["role"] for one in scrapes.all if one.name == "synccash_build_info"]
    assert sorted(roles) == ["api", "api", "webhooks", "worker"]
    assert sum(scrapes.values("orders_ended_total", status="succeeded")) == 4
    assert sum(scrapes.values("orders_ended_total", status="failed")) == 1
    assert sum(scrapes.values("order_time_to_end_seconds_count", kind="payment")) == 5
    assert sum(scrapes.values("http_requests_total", method="POST", route="/api/v1/payments")) == 5
    assert set(scrapes.values("database_reachable")) == {1.0}


def missing(query: str, found: list[Sample]) -> list[Selector]:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return [
        selector
        for selector in selectors(query)
        if selector.name not in OF_PROMETHEUS | recorded
        and not any(selector.matches(sample) for sample in found)
    ]


def test_every_series_of_every_query_is_in_a_scrape(scrape):
    read = list(queries())
    assert len(read) > 50
    assert {where: gone for where, query in read if (gone := missing(query, scrape))} == {}


def test_no_label_of_a_scrape_holds_what_a_merchant_or_payer_wrote(scrape):
    values = {value for sample in scrape for value in sample.labels.values()}
    assert [value for value in values if re.search(r"mer_|pay_|\d{9}", value)] == []


def test_a_series_that_does_not_exist_would_be_found(scrape):
    query = 'sum by (rail) (rate(orders_ended_total{status="lost"}[5m])) / on (a) max(orders_due) > 0.5'
    assert [one.name for one in selectors(query)] == ["orders_ended_total", "orders_due"]
    assert missing(query, scrape) == [Selector("orders_ended_total", (("status", "=", "lost"),))]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_has_a_severity_a_summary_and_a_paragraph_of_the_operators_page(alert):
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    path, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor in anchors(ROOT / path)


def test_each_alert_is_tested_to_fire_and_to_stay_silent():
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    silent = {one["alertname"] for test in tests for one in test.get("alert_rule_test", ())}
    expressions = " ".join(one["expr"] for test in tests for one in test.get("promql_expr_test", ()))
    fired = set(re.findall(r'alertname="(\w+)"', expressions))
    assert silent == fired == {alert["alert"] for alert in alerts()}


def test_money_that_nobody_has_resolved_pages_someone():
    pages = {alert["alert"] for alert in alerts() if alert["labels"]["severity"] == "page"}
    assert pages >= {"UnresolvedSurplus", "ContradictionReported", "UnderReviewTooLong"}


def test_dashboards_are_provisioned_from_their_folder():
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "synccash.yaml").read_text())["providers"]
    assert Path(provider["options"]["path"]).name == "dashboards"
