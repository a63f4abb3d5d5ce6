"""`synccash reconcile`: compares a rail's statement with the attempts in the database."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

from cyclopts import Parameter

from synccash.administration.errors import AdministrationError
from synccash.commands.terminal import print_facts, print_table, settings

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

    Changes no order; the console shows the result. Exits with 1 if something differs or a row cannot be read.

    Parameters
    ----------
    file
        The statement, as the rail's portal exports it.
    rail
        The rail of the statement, such as mtn_momo.
    from_
        The statement must list attempts from this time on; by default the time of the file's first row.
    to
        The statement must list attempts up to this time; by default the time of the file's last row.
    columns
        The file's own column names, such as reference=Ref No,amount=Value. Also takes provider_id,
        credit, debit, direction, status, time, currency.
    direction
        Read all rows as money in, or as money out.
    minor_units
        Amounts are in pesewas.
    time_zone
        The zone of times without an offset, and of --from and --to.
    format
        The format of the report: table (differences only), csv or json (all findings).
    out
        Write the report to this file, as csv unless its name ends in .json or --format is given.
    json
        The same as --format json.
    """
    from synccash.administration.maintenance.reconciling import ReconciliationRequest
    from synccash.administration.maintenance.reconciling import reconcile as run
    from synccash.reconciliation.report import CsvReport, JsonReport, TableReport

    request = ReconciliationRequest(
        file=file,
        rail=rail,
        first=from_,
        last=to,
        columns=columns,
        direction=direction,
        minor_units=minor_units,
        time_zone=time_zone,
    )
    chosen_format = "json" if json else format or _default_format(out)
    if chosen_format == "table":
        if out is not None:
            raise AdministrationError(
                "--format table prints to the terminal only. With --out, use --format csv or json."
            )
        report = TableReport()
        summary = run(settings(), request, report)
        _print(report, summary)
        return _exit_code(summary)
    with _report_stream(out) as stream:
        report_file = CsvReport(stream) if chosen_format == "csv" else JsonReport(stream)
        summary = run(settings(), request, report_file)
        report_file.close(summary)
    if out is not None:
        _print_summary(summary)
    return _exit_code(summary)


def _exit_code(summary: "Summary") -> int:
    if summary.not_kept is not None:
        print(f"The console does not get this result: {summary.not_kept}", file=sys.stderr)
    return 0 if summary.clean else 1


def _default_format(out: Path | None) -> str:
    if out is None:
        return "table"
    return "json" if out.suffix.lower() == ".json" else "csv"


@contextmanager
def _report_stream(out: Path | None) -> Generator[TextIO]:
    """Yields the stream for the report. A file appears under its name only when it is complete."""
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
            print(f"{report.more:,} more differences are not shown: write all of them with --out FILE.csv")
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
            "\nbroken: these rows could not be read: correct them in the file, or say how to read them with "
            "--columns or --direction"
        )
