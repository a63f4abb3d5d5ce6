"""`synccash reconcile`: a rail's statement against our own attempts."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

from cyclopts import Parameter

from synccash.administration.errors import AdministrationError
from synccash.commands.terminal import print_facts, print_table, refuse, settings

if TYPE_CHECKING:
    from synccash.reconciliation.report import TableReport
    from synccash.reconciliation.run import Summary


def reconcile(
    file: Path,
    /,
    *,
    rail: str,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    columns: str = "",
    direction: Literal["in", "out"] | None = None,
    minor_units: bool = False,
    time_zone: str = "Africa/Accra",
    format: Literal["table", "csv", "json"] | None = None,  # noqa: A002 - the option's name
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Compare a rail's statement (CSV) with our attempts: matched, missing, surplus, amount differs.

    Nothing is changed. Exit 1 when something differs, or a row cannot be read.

    Parameters
    ----------
    file
        The statement, as the rail's portal exports it.
    rail
        Whose it is: mtn_momo, paystack, hubtel or pawapay.
    from_
        Attempts from this time on have to be stated; else from the file's first row.
    to
        Attempts up to this time have to be stated; else to the file's last row.
    columns
        Names of columns that the file has otherwise: reference=Ref No,amount=Value. Also provider_id,
        credit, debit, direction, status, time, currency.
    direction
        All rows of the file are money in, or money out.
    minor_units
        Amounts are in pesewas.
    time_zone
        Of times without an offset, and of --from and --to.
    format
        How to report: table (only what differs), csv or json (all of it).
    out
        Write the report to this file; csv unless its name ends in .json, or --format says otherwise.
    json
        The same as --format json.
    """
    from synccash.administration.reconciling import Asked
    from synccash.administration.reconciling import reconcile as run
    from synccash.reconciliation.report import CsvReport, JsonReport, TableReport

    asked = Asked(
        file=file,
        rail=rail,
        first=from_,
        last=to,
        columns=columns,
        direction=direction,
        minor_units=minor_units,
        time_zone=time_zone,
    )
    chosen = "json" if json else format or _by_name(out)
    if chosen == "table":
        if out is not None:
            return refuse("--format table is for the terminal: --out takes csv or json")
        report = TableReport()
        summary = run(settings(), asked, report)
        _print(report, summary)
        return 0 if summary.clean else 1
    with _opened(out) as stream:
        written = CsvReport(stream) if chosen == "csv" else JsonReport(stream)
        summary = run(settings(), asked, written)
        written.close(summary)
    if out is not None:
        _print_summary(summary)
    return 0 if summary.clean else 1


def _by_name(out: Path | None) -> str:
    if out is None:
        return "table"
    return "json" if out.suffix.lower() == ".json" else "csv"


@contextmanager
def _opened(out: Path | None) -> Generator[TextIO]:
    """Where the report goes; a file is there once it is whole."""
    if out is None:
        yield sys.stdout
        return
    draft = out.with_name(f"{out.name}.part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        draft.replace(out)
    except OSError as error:
        raise AdministrationError(f"--out {out}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _print(report: "TableReport", summary: "Summary") -> None:
    from synccash.reconciliation.report import COLUMNS

    if report.rows:
        shown = [name for name in COLUMNS if any(row[name] is not None for row in report.rows)]
        print_table(shown, [[row[name] for name in shown] for row in report.rows], nothing="")
        if report.more:
            print(f"and {report.more:,} more: --out FILE.csv has all of them")
        print()
    _print_summary(summary)


def _print_summary(summary: "Summary") -> None:
    from synccash.reconciliation.report import ADVICE, counts

    print_facts({name.replace("_", " "): value for name, value in counts(summary).items() if value != 0})
    for verdict, advice in ADVICE.items():
        if advice and summary.verdicts[verdict]:
            print(f"\n{verdict.value}: {advice}")
    if summary.broken:
        print(
            "\nbroken: rows that could not be read: mend them, or say what they are (--columns, --direction)"
        )
