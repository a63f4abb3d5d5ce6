"""The report of a drill as one self-contained HTML page, for readers who do not know the system."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from synccash.drill.chart import chart
from synccash.drill.document import Conditions
from synccash.drill.report import broken_lines, remarks, sections, verdict, word_of
from synccash.drill.run import RATE, DrillOptions, DrillResult
from synccash.drill.timeline import Summary, summary_of

_STYLE = """
:root{color-scheme:light;--ink:#1c2733;--soft:#5b6875;--line:#dfe4ea}
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);max-width:70rem;margin:2rem auto;padding:0 1.5rem}
h1{font-size:1.7rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}p{margin:.4rem 0}
header{display:flex;gap:1rem;align-items:center}
.badge{font-weight:700;color:#fff;padding:.25rem .8rem;border-radius:.4rem}
.ok{background:#00795a}.failed{background:#b3261e}.invalid{background:#8a5a00}
.facts{color:var(--soft);font-size:.9rem}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.8rem;margin:1.2rem 0}
.tile{border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}
.tile b{display:block;font-size:1.5rem;font-weight:650}.tile span{color:var(--soft);font-size:.85rem}
.bad b{color:#b3261e}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:.28rem .6rem;border-bottom:1px solid var(--line);text-align:left;font-weight:400}
td{text-align:right;font-variant-numeric:tabular-nums}thead th{color:var(--soft)}
thead th:not(:first-child){text-align:right}
.tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:0 2.5rem}
.notice{border-left:4px solid #b3261e;padding:.3rem .8rem;background:#fbeeed;margin:.4rem 0}
svg{width:100%;height:auto;font:11px system-ui,sans-serif}
.title{font-weight:600;fill:#1c2733;font-size:12px}.lane{fill:#5b6875;text-anchor:end}.tick{fill:#5b6875}
.inside{fill:#fff;font-size:10px}.behind{fill:#1c2733;font-size:10px}.grid{stroke:#eef1f4}.base{stroke:#dfe4ea}
.line{fill:none;stroke-width:1.6}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin:0 .3rem 0 .9rem}
footer{color:var(--soft);font-size:.85rem;margin:2.5rem 0 1rem}
@media print{body{margin:0}.tile,svg,table{break-inside:avoid}}
"""
_HEADLINES = {
    "ok": ("ok", "PASSED", "No money moved twice, none was lost, and every order ended."),
    "FAILED": ("failed", "FAILED", "A guarantee was broken. The lines below name each order."),
    "INVALID": ("invalid", "INVALID", "No guarantee was broken, but the drill proves nothing: see below."),
}
_KEYS = (
    ("#009e73", "payment succeeded, or breaker closed (pale)"),
    ("#d55e00", "payment failed, breaker open, or process killed (triangle)"),
    ("#e69f00", "payment not ended, or breaker tests the rail"),
    ("#0072b2", "fault"),
)


@dataclass(frozen=True, slots=True)
class _Tile:
    value: str
    name: str
    is_bad: bool = False


def write_page(
    path: Path,
    conditions: Conditions,
    options: DrillOptions,
    result: DrillResult,
    without: DrillResult | None = None,
) -> None:
    """Write the report as one HTML file without references to others. `without`: the same drill without
    policies."""
    path.write_text(page(conditions, options, result, without), encoding="utf-8")


def page(
    conditions: Conditions, options: DrillOptions, result: DrillResult, without: DrillResult | None
) -> str:
    """Return the page."""
    kind, word, sentence = _HEADLINES[word_of(result)]
    top_s = max(
        (one.accepted_max_s or 0.0 for one in _summaries(result, without)),
        default=0.0,
    )
    parts = [
        f'<header><h1>Outage drill</h1><span class="badge {kind}">{word}</span></header>',
        f"<p>{escape(sentence)}</p>{_facts(conditions, options)}",
        *_notices(result),
        _tiles(result),
        "<h2>What was hit, when, and what it did</h2>",
        _keys(),
        chart(result.timeline, latency_max_s=top_s),
    ]
    if without is not None:
        parts += [
            "<h2>The same drill without policies</h2>",
            "<p>The same seed and load, with one try for each send and no circuit breaker. Which orders a "
            "fault hits depends on the machine's timing, so the two runs are alike and not identical.</p>",
            _comparison(result, without),
            *_notices(without),
            chart(without.timeline, latency_max_s=top_s),
        ]
    parts += [
        "<h2>The audit</h2>",
        "<p>Each order in the database is compared with the books of the simulated rails, by amount.</p>",
        _tables(options, result),
        "<h2>All faults</h2>",
        _table(("what", "seconds from the start"), [(what, f"{at:.1f}") for at, what in result.happened]),
        f"<footer>{escape(verdict(options, result))}. Repeat it with {escape(_command(options))}</footer>",
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Outage drill: {word}</title><style>{_STYLE}</style>{''.join(parts)}</html>"
    )


def _facts(conditions: Conditions, options: DrillOptions) -> str:
    at = conditions.at.strftime("%d %B %Y, %H:%M UTC")
    kinds = ", ".join(options.kinds) or "none"
    facts = (
        at,
        f"SyncCash Orchestrator {conditions.version}",
        conditions.machine,
        f"seed {options.seed}",
        f"{options.payments} payments, {RATE} a second",
        f"faults: {kinds}",
    )
    return f'<p class="facts">{escape(" · ".join(facts))}</p>'


def _notices(result: DrillResult) -> list[str]:
    lines = (*broken_lines(result.findings), *remarks(result))
    return [f'<p class="notice">{escape(line)}</p>' for line in lines]


def _tiles(result: DrillResult) -> str:
    found, numbers = result.findings, summary_of(result.timeline)
    tiles = (
        *(
            _Tile(str(len(ids)), name, is_bad=bool(ids))
            for name, ids in (
                ("moved money twice", found.duplicates),
                ("lost: status and book disagree", found.lost),
                ("not ended", found.stuck),
                ("ended too late", found.overdue),
            )
        ),
        _Tile(_percent(numbers.succeeded), "of the payments succeeded"),
        _Tile(_seconds(numbers.accepted_p95_s), "95 % accepted within"),
        _Tile(_seconds(numbers.ended_p95_s), "95 % of the ended payments ended within"),
        _Tile(_seconds(found.slowest_end_s), "slowest end after the last fault"),
    )
    cells = "".join(
        f'<div class="tile{" bad" if tile.is_bad else ""}"><b>{escape(tile.value)}</b>'
        f"<span>{escape(tile.name)}</span></div>"
        for tile in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _keys() -> str:
    keys = "".join(
        f'<span class="key" style="background:{colour}"></span>{escape(name)}' for colour, name in _KEYS
    )
    return f'<p class="facts">{keys}</p>'


def _summaries(*results: DrillResult | None) -> list[Summary]:
    return [summary_of(one.timeline) for one in results if one is not None]


def _comparison(result: DrillResult, without: DrillResult) -> str:
    rows: list[tuple[str, ...]] = []
    cells = [_compared(one) for one in (result, without)]
    for name, value in cells[0].items():
        rows.append((name, value, cells[1][name]))
    return _table(("", "with policies", "without"), rows)


def _compared(result: DrillResult) -> dict[str, str]:
    found, numbers = result.findings, summary_of(result.timeline)
    return {
        "payments that succeeded": _percent(numbers.succeeded),
        "moved money twice": str(len(found.duplicates)),
        "lost": str(len(found.lost)),
        "not ended": str(len(found.stuck)),
        "ended too late": str(len(found.overdue)),
        "accepted: median": _seconds(numbers.accepted_p50_s),
        "accepted: 95th percentile": _seconds(numbers.accepted_p95_s),
        "accepted: slowest": _seconds(numbers.accepted_max_s),
        "payment ended: median": _seconds(numbers.ended_p50_s),
        "payment ended: 95th percentile": _seconds(numbers.ended_p95_s),
        "payment ended: slowest": _seconds(numbers.ended_max_s),
        "requests repeated by the merchant": str(result.repeats),
    }


def _tables(options: DrillOptions, result: DrillResult) -> str:
    tables = "".join(
        f"<section><h3>{escape(title)}</h3>{_table((), rows)}</section>"
        for title, rows in sections(options, result)
    )
    return f'<div class="tables">{tables}</div>'


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if titles else ''}<tbody>{body}</tbody></table>"


def _command(options: DrillOptions) -> str:
    kinds = ",".join(options.kinds) or "none"
    return f"synccash drill --payments {options.payments} --seed {options.seed} --faults {kinds}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace("%", " %")


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
