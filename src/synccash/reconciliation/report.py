"""Reports of a reconciliation: a table for the terminal, CSV and JSON, and advice for each verdict."""

import csv
import json
from typing import Any, TextIO

from synccash.payments.errors import InternalError
from synccash.payments.masking import masked
from synccash.payments.money import to_major
from synccash.payments.reconciliation import ADVICE as ADVICE
from synccash.payments.reconciliation import Finding, Verdict
from synccash.reconciliation.reading import UnreadableRow
from synccash.reconciliation.run import Report, Summary

COLUMNS: tuple[str, ...] = (
    "verdict",
    "line",
    "direction",
    "stated",
    "ours",
    "reference",
    "provider_id",
    "order_id",
    "attempt_id",
    "detail",
)
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_SHOWN = 50


def facts(finding: Finding) -> dict[str, Any]:
    """Returns one finding as a row, with amounts in major units as in statements.

    Raises InternalError for a finding with neither a line nor a movement.
    """
    line, own = finding.line, finding.movement
    known = own or line
    if known is None:
        raise InternalError("a finding has neither a line of the statement nor a movement of ours")
    return {
        "verdict": finding.verdict.value,
        "line": line.number if line else None,
        "direction": known.direction.value,
        "stated": to_major(line.amount) if line else None,
        "ours": to_major(own.amount) if own else None,
        "reference": (own.reference if own else None) or (line.reference if line else None),
        "provider_id": (line.provider_id if line else None) or (own.provider_id if own else None),
        "order_id": own.order_id if own else None,
        "attempt_id": own.attempt_id if own else None,
        "detail": None,
    }


def _unreadable_facts(row: UnreadableRow) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"verdict": "broken", "line": row.number, "detail": row.why}


def counts(summary: Summary) -> dict[str, Any]:
    """Returns the counts of a run."""
    return {
        "from": summary.first,
        "to": summary.last,
        "rows": summary.rows,
        **{verdict.value: summary.verdicts[verdict] for verdict in Verdict},
        "broken": summary.broken,
        "repeated": summary.repeated,
        "moved_no_money": summary.unsettled,
        "no_payment": summary.no_payment,
        "without_time": summary.timeless,
    }


class DifferencesReport:
    """Passes everything on to another report, and keeps the first differences as rows, without what may be
    personal data; `more` counts the others."""

    def __init__(self, report: Report, most: int = 1_000) -> None:
        self._report, self._most = report, most
        self.rows: list[dict[str, Any]] = []
        self.more = 0

    def finding(self, finding: Finding) -> None:
        """Keep a difference."""
        self._report.finding(finding)
        if finding.verdict.needs_review:
            self._keep(facts(finding))

    def broken(self, row: UnreadableRow) -> None:
        """Keep the number of a row that could not be read."""
        self._report.broken(row)
        self._keep(_unreadable_facts(row) | {"detail": None})

    def _keep(self, row: dict[str, Any]) -> None:
        if len(self.rows) == self._most:
            self.more += 1
            return
        reference = row["reference"]
        self.rows.append({**row, "reference": None if reference is None else masked(str(reference))})


class TableReport:
    """Keeps the first 50 differences for the terminal; `more` counts the others."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.more = 0

    def finding(self, finding: Finding) -> None:
        """Keep a difference."""
        if finding.verdict.needs_review:
            self._keep(facts(finding))

    def broken(self, row: UnreadableRow) -> None:
        """Keep a row that could not be read."""
        self._keep(_unreadable_facts(row))

    def _keep(self, row: dict[str, Any]) -> None:
        if len(self.rows) < _SHOWN:
            self.rows.append(row)
        else:
            self.more += 1


class CsvReport:
    """Writes every finding as CSV, including matches."""

    def __init__(self, out: TextIO) -> None:
        self._writer = csv.DictWriter(out, COLUMNS)
        self._writer.writeheader()

    def finding(self, finding: Finding) -> None:
        """Write a finding."""
        self._writer.writerow({name: _escape_formula(value) for name, value in facts(finding).items()})

    def broken(self, row: UnreadableRow) -> None:
        """Write a row that could not be read."""
        self._writer.writerow(
            {name: _escape_formula(value) for name, value in _unreadable_facts(row).items()}
        )

    def close(self, summary: Summary) -> None:
        """Does nothing: CSV has no end to write."""


class JsonReport:
    """Writes one JSON document: `findings`, including matches, and their `summary`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._separator = '{"findings": ['

    def finding(self, finding: Finding) -> None:
        """Write a finding."""
        self._write(facts(finding))

    def broken(self, row: UnreadableRow) -> None:
        """Write a row that could not be read."""
        self._write(_unreadable_facts(row))

    def close(self, summary: Summary) -> None:
        """End the document."""
        start = self._separator if self._separator.startswith("{") else ""
        self._out.write(f'{start}],\n"summary": {json.dumps(counts(summary), default=str)}}}\n')

    def _write(self, row: dict[str, Any]) -> None:
        self._out.write(f"{self._separator}\n{json.dumps(row, ensure_ascii=False)}")
        self._separator = ","


def _escape_formula(value: Any) -> Any:
    """Prefixes text that a spreadsheet would take for a formula with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
