"""A drill told to people: lines for a terminal, a page for a browser."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from synccash.drill.run import Drilled, DrillOptions

_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:50rem;margin:3rem auto}td,th{padding:.2rem 1rem;text-align:left}"
)


def rows_of(options: DrillOptions, drilled: Drilled) -> list[tuple[str, str]]:
    """The numbers, each with its name."""
    found = drilled.findings
    return [
        ("payments asked for", str(options.payments)),
        ("asked again, same key", str(drilled.repeats)),
        *((f"{kind}s {status}", str(count)) for (kind, status), count in sorted(found.statuses.items())),
        *((f"last rail {rail}", str(count)) for rail, count in sorted(found.rails.items())),
        ("debits in all books", str(found.debits)),
        ("credits in all books", str(found.credits)),
        ("second debits returned in full", str(len(found.surplus_returned))),
        ("duplicates", str(len(found.duplicates))),
        ("lost", str(len(found.lost))),
        ("stuck", str(len(found.stuck))),
        ("sent after known money", str(len(found.late_sends))),
        *((f"fault: {name}", str(count)) for name, count in sorted(drilled.occurrences.items())),
        ("no money moved, left to a human", str(len(found.parked))),
        ("contradicted, listed for a human", str(len(found.contradicted))),
        ("last end, s after the last fault", f"{drilled.ends_after_s:.1f}"),
    ]


def told(options: DrillOptions, drilled: Drilled) -> str:
    """The drill for a terminal; its last line is the verdict."""
    lines = [f"{at:6.1f} s  {what}" for at, what in drilled.happened]
    lines += ["", *(f"{name:<36}{value:>8}" for name, value in rows_of(options, drilled)), ""]
    found = drilled.findings
    kinds = {
        "duplicate": found.duplicates,
        "lost": found.lost,
        "stuck": found.stuck,
        "sent after known money": found.late_sends,
    }
    for kind, names in kinds.items():
        lines += [f"{kind}: {name}" for name in names]
    return "\n".join([*lines, verdict(options, drilled)])


def verdict(options: DrillOptions, drilled: Drilled) -> str:
    """One line: what became of the promises."""
    found = drilled.findings
    word = "ok" if found.clean else "FAILED"
    return (
        f"drill {word}: {options.payments} payments, {found.debits} debits, {found.credits} credits, "
        f"{len(found.duplicates)} duplicates, {len(found.lost)} lost, {len(found.stuck)} stuck, "
        f"{len(found.late_sends)} sent after known money "
        f"(seed {options.seed})"
    )


def write_page(path: Path, options: DrillOptions, drilled: Drilled) -> None:
    """Write the drill as one HTML file that needs nothing else."""
    happened = [(f"{at:.1f} s", what) for at, what in drilled.happened]
    page = (
        f"<!doctype html><meta charset=utf-8><title>synccash drill</title><style>{_STYLE}</style>"
        f"<h1>{escape(verdict(options, drilled))}</h1>{_table(rows_of(options, drilled))}"
        f"<h2>What was done to it</h2>{_table(happened)}"
    )
    path.write_text(page, encoding="utf-8")


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"
