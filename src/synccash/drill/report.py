"""The report of a drill, as text for a terminal and as an HTML page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from synccash.drill.audit import END_WITHIN_S, Findings
from synccash.drill.run import RATE, DrillOptions, DrillResult

_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:50rem;margin:3rem auto}td,th{padding:.2rem 1rem;text-align:left}"
)
_WIDTH = 50
_KINDS = ("payment", "refund", "payout")


def verdict(options: DrillOptions, result: DrillResult) -> str:
    """Return the last line of the report: ok, FAILED or INVALID, with the counts."""
    found = result.findings
    word = "ok"
    if not found.clean:
        word = "FAILED"
    elif not result.is_valid:
        word = "INVALID"
    return (
        f"drill {word}: {options.payments} payments, {found.debits} debits, {found.credits} credits, "
        f"{len(found.duplicates)} duplicates, {len(found.lost)} lost, {len(found.stuck)} stuck, "
        f"{len(found.overdue)} late, {len(found.late_sends)} sent after known money (seed {options.seed})"
    )


def terminal_report(options: DrillOptions, result: DrillResult) -> str:
    """Return the drill for a terminal; its last line is the verdict."""
    lines = ["Faults injected (seconds from the start)"] if result.happened else []
    lines += [f"{at:8.1f}  {what}" for at, what in result.happened]
    for title, rows in _sections(options, result):
        lines += ["", title, *(f"  {name:<{_WIDTH}}{value:>8}" for name, value in rows)]
    lines += ["", *_broken(result.findings), *_remarks(result), verdict(options, result)]
    return "\n".join(lines)


def write_page(path: Path, options: DrillOptions, result: DrillResult) -> None:
    """Write the report as one self-contained HTML file."""
    tables = "".join(f"<h2>{escape(title)}</h2>{_table(rows)}" for title, rows in _sections(options, result))
    notices = "".join(f"<p>{escape(line)}</p>" for line in (*_broken(result.findings), *_remarks(result)))
    happened = [(f"{at:.1f} s", what) for at, what in result.happened]
    page = (
        f"<!doctype html><meta charset=utf-8><title>synccash drill</title><style>{_STYLE}</style>"
        f"<h1>{escape(verdict(options, result))}</h1>{notices}{tables}"
        f"<h2>Faults injected</h2>{_table(happened)}"
    )
    path.write_text(page, encoding="utf-8")


def _sections(options: DrillOptions, result: DrillResult) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the numbers, each with its name, under their titles."""
    found = result.findings
    requests = [
        (f"payments requested, {RATE} a second", str(options.payments)),
        ("requests repeated under their idempotency key", str(result.repeats)),
        ("refunds that the API refused", str(result.refusals)),
    ]
    orders = [
        (f"{kind}s {status}", str(count))
        for kind in _KINDS
        for (of_kind, status), count in sorted(found.statuses.items())
        if of_kind == kind
    ]
    orders.append(("ended, and still inquired about", str(result.asked_about)))
    rails = [(rail, str(count)) for rail, count in sorted(found.rails.items())]
    books = [("debits", str(found.debits)), ("credits", str(found.credits))]
    broken = [(name, str(len(ids))) for name, ids in _guarantees(found)]
    broken.append(("slowest end after the last fault, seconds", f"{found.slowest_end_s:.1f}"))
    allowed = [
        ("parked: lost by the rail, not safe to send again", str(len(found.parked))),
        ("refunds parked, without an expiry", str(len(found.parked_refunds))),
        ("contradicted by the rail, shown to operators", str(len(found.contradicted))),
        ("debited after a reported failure, refunded", str(len(found.surplus_returned))),
    ]
    sections = [
        ("Requests", requests),
        ("Orders in the database", orders),
        ("Orders by the rail that was used last", rails),
        ("Money in the rails' own books", books),
        (
            "Orders affected by each kind of fault",
            [(name, str(count)) for name, count in sorted(result.met.items())],
        ),
        ("Faults that occurred", [(name, str(count)) for name, count in sorted(result.occurrences.items())]),
        ("Broken guarantees", broken),
        ("Left to operators, no broken guarantees", allowed),
    ]
    return [(title, rows) for title, rows in sections if rows]


def _guarantees(found: Findings) -> list[tuple[str, Sequence[str]]]:
    return [
        ("money moved twice (duplicates)", found.duplicates),
        ("status and book disagree (lost)", found.lost),
        ("not ended (stuck)", found.stuck),
        (f"ended over {END_WITHIN_S:.0f} s after the last fault (late)", found.overdue),
        ("sent after money was known to have moved", found.late_sends),
        ("payments and payouts that the API did not accept", found.unanswered),
    ]


def _broken(found: Findings) -> list[str]:
    """Return one line for each broken guarantee."""
    kinds = {
        "double debit": [name for name in found.duplicates if name.startswith("pay_")],
        "double credit": [name for name in found.duplicates if not name.startswith("pay_")],
        "lost": found.lost,
        "stuck": found.stuck,
        "late": found.overdue,
        "sent after known money": found.late_sends,
        "not accepted": found.unanswered,
    }
    return [
        f"{kind}: {name}" + (f" ({found.explanations[name]})" if name in found.explanations else "")
        for kind, names in kinds.items()
        for name in names
    ]


def _remarks(result: DrillResult) -> list[str]:
    """Return the lines on the validity of the drill."""
    remarks = [f"invalid: {line}; repeat with more --payments" for line in result.missed]
    if result.sabotaged is not None:
        is_found = result.sabotaged in result.findings.duplicates
        remarks.append(
            f"sabotage: {result.sabotaged} was debited twice on purpose, "
            + ("and the audit found it" if is_found else "and the audit did NOT find it")
        )
    return remarks


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"
