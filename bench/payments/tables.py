"""The tables, numbers and plots of a run. A ratio is that of two windows of one round; all are medians."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from bench.payments.contenders import FLOOR, SERVICE
from bench.payments.frozen_floor import FrozenFigures
from bench.payments.load import Load
from bench.payments.windows import SERVICE_ROLES, Window
from bench.report import Report

DEARER_MOST = 1.15
"""A floor that costs more than this times the frozen one would flatter the service."""

Figure = Callable[[Window], float]
_FIGURES: Mapping[str, tuple[str, Figure]] = {
    "rate": ("1/s", lambda one: one.per_s),
    "p50": ("ms", lambda one: one.answers.quantile_ms(0.5)),
    "p95": ("ms", lambda one: one.answers.quantile_ms(0.95)),
    "p99": ("ms", lambda one: one.answers.quantile_ms(0.99)),
    "drain": ("s", lambda one: one.drain_s),
    "service_cpu": ("us", lambda one: one.service_us),
    "postgres_cpu": ("us", lambda one: one.cpu_us["postgres"]),
    "valkey_cpu": ("us", lambda one: one.cpu_us["valkey"]),
    "sandbox_cpu": ("us", lambda one: one.cpu_us["sandbox"]),
    "load_cpu": ("us", lambda one: one.cpu_us["load"]),
    "pgbouncer_cpu": ("us", lambda one: one.cpu_us["pgbouncer"]),
    **{f"{role}_cpu": ("us", lambda one, role=role: one.cpu_us[role]) for role in SERVICE_ROLES},
    "transactions": ("", lambda one: one.counts["transactions"]),
    "wal_records": ("", lambda one: one.counts["wal_records"]),
    "wal_bytes": ("B", lambda one: one.counts["wal_bytes"]),
    "wal_full_pages": ("", lambda one: one.counts["wal_full_pages"]),
    "buffer_hits": ("", lambda one: one.counts["buffer_hits"]),
    "buffer_reads": ("", lambda one: one.counts["buffer_reads"]),
    "order_updates": ("", lambda one: one.counts["payments.updates"]),
    "hot_share": ("share", lambda one: one.hot_share),
    "elsewhere": ("cores", lambda one: one.elsewhere),
    "late": ("ms", lambda one: one.answers.late_s * 1_000),
}
_PER_TABLE = ("inserts", "updates", "hot_updates", "index_scans", "sequential_scans")
_COST = (
    "rate",
    "p50",
    "p95",
    "p99",
    "drain",
    "service_cpu",
    "postgres_cpu",
    "valkey_cpu",
    "sandbox_cpu",
    "load_cpu",
)
_RATIOS = ("service_cpu", "postgres_cpu", "rate")
_BESIDE_SERVICE = ("service_cpu", "postgres_cpu", "rate", "p50", "p99", "buffer_hits", "wal_bytes")
_CORES = ("api_cpu", "worker_cpu", "webhooks_cpu", "postgres_cpu", "valkey_cpu", "pgbouncer_cpu")
_DATABASE = (
    "transactions",
    "wal_records",
    "wal_bytes",
    "wal_full_pages",
    "buffer_hits",
    "buffer_reads",
    "order_updates",
    "hot_share",
)
_PROCESSES = (*(f"{role}_cpu" for role in SERVICE_ROLES), "elsewhere", "late")


class Results:
    """The windows of a run, by load and contender."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows: dict[tuple[Load, str], list[Window]] = defaultdict(list)
        for one in windows:
            self._windows[one.load, one.contender].append(one)

    @property
    def keys(self) -> list[tuple[Load, str]]:
        """The loads and contenders, those of one load together."""
        loads = list(dict.fromkeys(load for load, _ in self._windows))
        return sorted(self._windows, key=lambda key: loads.index(key[0]))

    def windows(self, load: Load, contender: str) -> list[Window]:
        return self._windows.get((load, contender), [])

    def median(self, load: Load, contender: str, figure: Figure) -> float:
        return statistics.median(figure(one) for one in self.windows(load, contender))

    def ratio(self, load: Load, contender: str, figure: Figure, to: str = FLOOR) -> float | None:
        """Return the ratio to another contender of the same round; None where that was not measured."""
        others = {one.round: figure(one) for one in self.windows(load, to)}
        ratios = [
            figure(one) / others[one.round]
            for one in self.windows(load, contender)
            if others.get(one.round, 0.0) > 0
        ]
        return statistics.median(ratios) if ratios else None


def show(report: Report, results: Results, title: str) -> None:
    """Print the tables, keep the numbers and draw the plots."""
    _keep(report, results)
    report.table(
        f"{title}\nRates, latencies, and CPU of a payment until its end; ratios to the floor",
        (
            "",
            "rate, 1/s",
            "p50, ms",
            "p95",
            "p99",
            "drain, s",
            "CPU, us: service",
            "PostgreSQL",
            "Valkey",
            "sandbox",
            "load",
            "service / floor",
            "PostgreSQL / floor",
            "rate / floor",
        ),
        [_cost_row(results, load, contender) for load, contender in results.keys],
    )
    _figures(report, results, "PostgreSQL, for each payment", _DATABASE)
    _figures(
        report,
        results,
        "CPU of the service, us a payment; of other programs, cores; most that the load was late, ms",
        _PROCESSES,
    )
    _show_tables_of_database(report, results)
    _show_memory(report, results)
    for load in dict.fromkeys(load for load, _ in results.keys):
        bars = {
            f"{contender}: {part}": results.median(load, contender, _FIGURES[figure][1])
            for one, contender in results.keys
            if one == load
            for part, figure in (("service", "service_cpu"), ("PostgreSQL", "postgres_cpu"))
        }
        report.bars(_slug(load.name), f"CPU of a payment, {load.name}", bars, "us")


def compare_with_service(report: Report, results: Results) -> None:
    """Print what the service costs in other forms, as ratios to the service as it starts by itself."""
    rows: list[Sequence[object]] = []
    for load, contender in results.keys:
        if contender in (SERVICE, FLOOR) or not results.windows(load, SERVICE):
            continue
        cells: list[str] = []
        for name in _BESIDE_SERVICE:
            unit, figure = _FIGURES[name]
            ratio = results.ratio(load, contender, figure, to=SERVICE)
            cells.append("-" if ratio is None else f"{ratio:.2f}")
            if ratio is not None:
                median = results.median(load, contender, figure)
                report.add(f"{contender}.{load.name}.{name}_to_service", median, unit, ratio=ratio)
        rows.append((_label(load, contender), *cells))
    if rows:
        head = ("", *(name.replace("_", " ") for name in _BESIDE_SERVICE))
        report.table("Beside the service as it starts by itself: ratios", head, rows)


def show_capacity(report: Report, results: Results) -> None:
    """Print how many payments a second one core of each role could serve, and all roles together."""
    rows: list[Sequence[object]] = []
    for load, contender in results.keys:
        if contender == FLOOR or not load.callers:
            continue
        whole = 1e6 / results.median(load, contender, lambda one: one.all_us)
        report.add(f"{contender}.{load.name}.per_s_a_core", whole, "1/s")
        used = [results.median(load, contender, _FIGURES[name][1]) for name in _CORES]
        cells = ["-" if us <= 0 else f"{1e6 / us:,.0f}" for us in used]
        rows.append((_label(load, contender), f"{whole:,.0f}", *cells))
    if rows:
        head = ("", "all", *(name.removesuffix("_cpu") for name in _CORES))
        report.table("Payments a second for each core that these roles get", head, rows)


def compare_with_frozen(report: Report, results: Results, frozen: Sequence[FrozenFigures]) -> bool:
    """Return whether the floor costs at most `DEARER_MOST` times the frozen one of the same round."""
    rows, met = list[Sequence[object]](), True
    for callers in sorted({one.callers for one in frozen}):
        beside = {one.round: one for one in frozen if one.callers == callers}
        windows = [one for one in results.windows(Load(callers=callers), FLOOR) if one.round in beside]
        if not windows:
            continue
        for name, ours, theirs in (
            ("service", lambda one: one.service_us, lambda one: one.service_us),
            ("PostgreSQL", lambda one: one.cpu_us["postgres"], lambda one: one.postgres_us),
        ):
            ratio = statistics.median(ours(one) / theirs(beside[one.round]) for one in windows)
            met &= ratio <= DEARER_MOST
            floor = statistics.median(map(ours, windows))
            rows.append(
                (
                    f"closed {callers}: {name}",
                    floor,
                    statistics.median(map(theirs, beside.values())),
                    f"{ratio:.2f}",
                )
            )
            report.add(f"closed {callers}.floor_{name.lower()}_to_frozen", floor, "us", ratio=ratio)
    report.table(
        "The floor beside the frozen floor, CPU us a payment", ("", "floor", "frozen", "ratio"), rows
    )
    return met and bool(rows)


def _keep(report: Report, results: Results) -> None:
    for load, contender in results.keys:
        for name, (unit, figure) in _FIGURES.items():
            ratio = results.ratio(load, contender, figure) if name in _RATIOS else None
            median = results.median(load, contender, figure)
            report.add(f"{contender}.{load.name}.{name}", median, unit, ratio=ratio)
        for role in results.windows(load, contender)[0].memory:
            rss = results.median(load, contender, lambda one, role=role: one.memory[role].rss)
            report.add(f"{contender}.{load.name}.{role}_rss", rss, "MB")


def _label(load: Load, contender: str) -> str:
    return f"{load.name}: {contender}"


def _slug(name: str) -> str:
    return name.replace("/", "-per-").replace(" ", "-")


def _cost_row(results: Results, load: Load, contender: str) -> Sequence[object]:
    values = [results.median(load, contender, _FIGURES[name][1]) for name in _COST]
    ratios = [results.ratio(load, contender, _FIGURES[name][1]) for name in _RATIOS]
    return (
        _label(load, contender),
        *values,
        *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
    )


def _figures(report: Report, results: Results, title: str, names: Sequence[str]) -> None:
    head = ("", *(name.removesuffix("_cpu").replace("_", " ") for name in names))
    rows = [
        (
            _label(load, contender),
            *(results.median(load, contender, _FIGURES[name][1]) for name in names),
        )
        for load, contender in results.keys
    ]
    report.table(title, head, rows)


def _show_tables_of_database(report: Report, results: Results) -> None:
    """Print the changes and scans of each table, under the heaviest load of the first contender."""
    load, contender = max(results.keys, key=lambda key: (key[0].callers, key[0].per_s, key[1] != FLOOR))
    names = {key.partition(".")[0] for key in results.windows(load, contender)[0].counts if "." in key}
    rows: list[Sequence[object]] = []
    for name in sorted(names):
        counts = [
            results.median(load, contender, lambda one, key=f"{name}.{count}": one.counts.get(key, 0.0))
            for count in _PER_TABLE
        ]
        if max(counts) >= 0.01:
            rows.append((name, *(f"{count:.2f}" for count in counts)))
    title = f"Tables, for each payment; {_label(load, contender)}"
    report.table(title, ("", *(name.replace("_", " ") for name in _PER_TABLE)), rows)


def _show_memory(report: Report, results: Results) -> None:
    rows: list[Sequence[object]] = []
    roles = list(results.windows(*results.keys[0])[0].memory)
    for load, contender in results.keys:
        cells: list[str] = []
        for role in roles:
            rss = results.median(load, contender, lambda one, role=role: one.memory[role].rss)
            pss = results.median(load, contender, lambda one, role=role: one.memory[role].pss)
            cells.append(f"{rss:.0f} ({pss:.0f})")
        rows.append((_label(load, contender), *cells))
    report.table("Memory at the end of a window: RSS (PSS), MB", ("", *roles), rows)
