"""The report of a drill as numbers under titles, and as text for a terminal."""

from collections.abc import Sequence

from synccash.drill.audit import END_WITHIN_S, Findings
from synccash.drill.run import RATE, DrillOptions, DrillResult

_WIDTH = 50
_KINDS = ("payment", "refund", "payout")


def verdict(options: DrillOptions, result: DrillResult) -> str:
    """Return the last line of the report: ok, FAILED or INVALID, with the counts."""
    found = result.findings
    return (
        f"drill {word_of(result)}: {options.payments} payments, "
        f"{found.debits} debits, {found.credits} credits, "
        f"{len(found.duplicates)} duplicates, {len(found.lost)} lost, {len(found.stuck)} stuck, "
        f"{len(found.overdue)} late, {len(found.late_sends)} sent after known money (seed {options.seed})"
    )


def word_of(result: DrillResult) -> str:
    """Return the verdict in one word: ok, FAILED (a guarantee was broken) or INVALID (it proves nothing)."""
    if not result.findings.clean:
        return "FAILED"
    return "ok" if result.is_valid else "INVALID"


def terminal_report(options: DrillOptions, result: DrillResult) -> str:
    """Return the drill for a terminal; its last line is the verdict."""
    lines = ["Faults injected (seconds from the start)"] if result.happened else []
    lines += [f"{at:8.1f}  {what}" for at, what in result.happened]
    for title, rows in sections(options, result):
        lines += ["", title, *(f"  {name:<{_WIDTH}}{value:>8}" for name, value in rows)]
    lines += ["", *broken_lines(result.findings), *remarks(result), verdict(options, result)]
    return "\n".join(lines)


def sections(options: DrillOptions, result: DrillResult) -> list[tuple[str, list[tuple[str, str]]]]:
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
    broken = [(name, str(len(ids))) for name, ids in guarantees(found)]
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


def guarantees(found: Findings) -> list[tuple[str, Sequence[str]]]:
    return [
        ("money moved twice (duplicates)", found.duplicates),
        ("status and book disagree (lost)", found.lost),
        ("not ended (stuck)", found.stuck),
        (f"ended over {END_WITHIN_S:.0f} s after the last fault (late)", found.overdue),
        ("sent after money was known to have moved", found.late_sends),
        ("payments and payouts that the API did not accept", found.unanswered),
    ]


def broken_lines(found: Findings) -> list[str]:
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


def remarks(result: DrillResult) -> list[str]:
    """Return the lines on the validity of the drill."""
    lines = [f"invalid: {line}; repeat with more --payments" for line in result.missed]
    if result.sabotaged is not None:
        is_found = result.sabotaged in result.findings.duplicates
        lines.append(
            f"sabotage: {result.sabotaged} was debited twice on purpose, "
            + ("and the audit found it" if is_found else "and the audit did NOT find it")
        )
    return lines
