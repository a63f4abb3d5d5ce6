"""The page of a drill: everything on one time axis, the audit, and the same drill without policies."""

import io
import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from synccash.drill.audit import audit_books
from synccash.drill.chart import chart
from synccash.drill.document import Conditions, drill_document, present_conditions
from synccash.drill.page import page
from synccash.drill.progress import Progress, bar
from synccash.drill.records import OrderRecord
from synccash.drill.run import DrillOptions, DrillResult
from synccash.drill.timeline import (
    BreakerSpan,
    DrillTimeline,
    FaultLog,
    FaultSpan,
    OrderSample,
    RequestSample,
    breaker_spans,
    order_samples,
    percentile,
    summary_of,
)
from synccash.local import status_lines
from synccash.local.status_lines import StatusLine

OPTIONS = DrillOptions(payments=2, seed=7, kinds=("kill", "rails"))
CONDITIONS = Conditions(
    at=datetime(2026, 3, 2, 9, 15, tzinfo=UTC),
    version="1.2.3",
    system="Linux 6.1 x86_64",
    processors=2,
    memory_gib=4.0,
    python="3.11.9",
)
TIMELINE = DrillTimeline(
    seconds=40.0,
    faults=(
        FaultSpan("mtn_momo", "refuses all connections", 5.0, 15.0),
        FaultSpan("Valkey", "killed", 20.0, 20.0),
    ),
    breakers=(
        BreakerSpan("mtn_momo:collect", "closed", 0.0, 6.0),
        BreakerSpan("mtn_momo:collect", "open", 6.0, 16.0),
        BreakerSpan("mtn_momo:collect", "closed", 16.0, 40.0),
        BreakerSpan("hubtel:collect", "closed", 0.0, 40.0),
    ),
    requests=(RequestSample(1.0, 0.05), RequestSample(6.0, None)),
    orders=(
        OrderSample(1.0, "payment", "succeeded", 0.5),
        OrderSample(6.0, "payment", "failed", 4.0),
        OrderSample(6.0, "payout", "succeeded", 1.0),
    ),
)


def result(**more):
    given = {
        "findings": audit_books({}, [], {}),
        "happened": ((5.0, "mtn_momo <refuses> all connections"),),
        "occurrences": {},
        "met": {},
        "missed": (),
        "repeats": 3,
        "refusals": 0,
        "timeline": TIMELINE,
    }
    return DrillResult(**{**given, **more})


def test_the_page_names_date_version_machine_seed_and_the_verdict():
    shown = page(CONDITIONS, OPTIONS, result(), None)
    for text in ("02 March 2026", "1.2.3", "2 processors, 4 GiB", "seed 7", "PASSED", "kill, rails"):
        assert text in shown


def test_the_page_refers_to_no_other_file_and_escapes_what_it_shows():
    shown = page(CONDITIONS, OPTIONS, result(), result())
    assert not re.findall(r"(?:src|href|url)\s*[=(]", shown)
    assert set(re.findall(r"https?://[^\"' <]*", shown)) == {"http://www.w3.org/2000/svg"}
    assert "&lt;refuses&gt;" in shown


def test_a_drill_whose_faults_met_no_traffic_is_shown_as_invalid_with_its_reason():
    shown = page(
        CONDITIONS, OPTIONS, result(missed=("kill: it never occurred while an order was open",)), None
    )
    assert "INVALID" in shown
    assert "kill: it never occurred while an order was open" in shown


def test_faults_breakers_payments_and_latencies_share_one_time_axis():
    drawn = chart(TIMELINE)
    assert drawn.count("<svg") == 1
    for text in ("refuses all connections", "Valkey killed, at 20.0 s", "mtn_momo:collect open, 6 to 16 s"):
        assert text in drawn
    assert "hubtel:collect" not in drawn, "a breaker that was closed all the time needs no lane"
    assert "1 payments failed" in drawn


def test_a_drill_without_anything_has_a_chart():
    assert "all closed all the time" in chart(DrillTimeline())


def test_the_comparison_has_both_runs_side_by_side():
    without = result(timeline=replace(TIMELINE, orders=(OrderSample(1.0, "payment", "failed", 4.0),)))
    shown = page(CONDITIONS, OPTIONS, result(), without)
    row = re.search(r"<tr><th>payments that succeeded</th>(.*?)</tr>", shown)[1]
    assert row == "<td>50.0 %</td><td>0.0 %</td>"
    assert shown.count("<svg") == 2


def test_the_document_has_the_verdict_the_numbers_and_the_time_axis():
    found = json.loads(json.dumps(drill_document(CONDITIONS, OPTIONS, result(), result())))
    assert (found["verdict"], found["valid"], found["seed"], found["version"]) == ("ok", True, 7, "1.2.3")
    assert found["summary"]["succeeded"] == 0.5
    assert found["faults_by_target"][0] == {
        "target": "mtn_momo",
        "what": "refuses all connections",
        "begins_s": 5.0,
        "ends_s": 15.0,
    }
    assert found["without_policies"]["verdict"] == "ok"


def test_the_conditions_hold_no_name_of_the_machine():
    import platform

    assert platform.node() not in present_conditions().machine or not platform.node()


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.95, 4.0), (1.0, 4.0)])
def test_percentiles_are_of_the_nearest_rank(share, expected):
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected
    assert percentile([], share) is None


def test_a_request_that_was_never_accepted_and_an_order_without_an_end_have_no_time():
    summary = summary_of(TIMELINE)
    assert (summary.accepted_max_s, summary.ended_p50_s, summary.ended_max_s) == (0.05, 0.5, 4.0)


def test_breaker_readings_become_spans_of_equal_state():
    readings = [
        (1.0, {"a": "closed", "b": "closed"}),
        (2.0, {"a": "open", "b": "closed"}),
        (3.0, {"a": "open", "b": "closed"}),
        (4.0, {"a": "closed", "b": "closed"}),
    ]
    assert breaker_spans(readings, 9.0) == (
        BreakerSpan("a", "closed", 0.0, 2.0),
        BreakerSpan("a", "open", 2.0, 4.0),
        BreakerSpan("a", "closed", 4.0, 9.0),
        BreakerSpan("b", "closed", 0.0, 9.0),
    )


def test_orders_are_placed_by_the_clock_of_the_database():
    began = datetime(2026, 3, 2, tzinfo=UTC)
    order = OrderRecord(
        id="pay_1",
        kind="payment",
        status="processing",
        amount=1,
        created_at=began + timedelta(seconds=3),
        ended_at=None,
    )
    assert order_samples([order], began) == (OrderSample(3.0, "payment", "open", None),)


def test_a_new_fault_of_a_target_ends_the_former_one():
    log = FaultLog()
    log.begin("mtn_momo", "down")
    log.begin("mtn_momo", "slow")
    log.end("mtn_momo")
    log.end("mtn_momo")
    first, second = log.spans
    assert (first.what, second.what) == ("down", "slow")
    assert first.ends_s <= second.begins_s


class Log(io.StringIO):
    """A file; `written` is set once it has a whole line."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def flush(self):
        self.written.set()


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def fileno(self):
        raise ValueError("no descriptor")


def test_progress_is_one_line_on_a_terminal():
    terminal = Terminal()
    progress = Progress(terminal, "drill")
    progress.show("10 of 20 payments sent", 0.5)
    progress.clear()
    assert "\n" not in terminal.getvalue()
    assert "drill  [############............]  50%  10 of 20 payments sent" in terminal.getvalue()


def test_where_nothing_can_be_written_over_a_line_is_due_every_few_seconds():
    line = StatusLine(last=100.0)
    assert line.due(109.0) is None, "nothing was shown yet"
    line.text = "10 of 20 payments sent"
    assert line.due(104.9) is None
    assert line.due(105.0) == "10 of 20 payments sent"
    assert line.due(109.9) is None
    assert line.due(110.0) == "10 of 20 payments sent", "it says so again while nothing changes"


def test_a_log_gets_the_lines_of_a_drill_until_it_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(status_lines, "INTERVAL_S", 0.0)
    log = Log()
    progress = Progress(log, "drill")
    progress.show("10 of 20 payments sent", 0.5)
    assert log.written.wait(30)
    progress.clear()
    assert set(log.getvalue().splitlines()) == {
        "drill  [############............]  50%  10 of 20 payments sent"
    }


def test_the_bar_stays_within_its_width():
    assert bar(-1.0).startswith("[........................]")
    assert bar(2.0).startswith("[########################]")
