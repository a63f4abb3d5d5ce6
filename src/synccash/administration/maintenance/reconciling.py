"""Compares a rail's statement with the attempts in the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from synccash.administration.database import database_actor, with_database
from synccash.administration.errors import AdministrationError
from synccash.engine.system import SystemIdentities
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.reconciliation import Direction
from synccash.rails.registry import RAILS
from synccash.rails.statements import COLUMNS
from synccash.reconciliation.reading import StatementError, StatementFormat
from synccash.reconciliation.report import DifferencesReport, counts
from synccash.reconciliation.run import Reconciliation, Report, Summary
from synccash.reconciliation.statement_index import StatementIndex
from synccash.reconciliation.values import Times
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.reconciliations import PostgresReconciliations, ReconciliationResult
from synccash.stores.postgres.orders.movements import PostgresMovements

_DAY = timedelta(days=1)
_DATE_LENGTH = len("2026-11-24")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationRequest:
    """The arguments of `synccash reconcile`."""

    file: Path
    rail: str
    first: str | None = None
    last: str | None = None
    columns: str = ""
    direction: str | None = None
    minor_units: bool = False
    time_zone: str = "Africa/Accra"


def reconcile(settings: Settings, request: ReconciliationRequest, report: Report) -> Summary:
    """Compares the statement, passes every finding to `report`, and returns the summary.

    Changes no order. The counts and the first differences are kept for the console; `summary.not_kept` says
    why they could not be. Raises AdministrationError.
    """
    shape = statement_format(settings, request)
    times = Times(shape.zone)
    summary = Summary(
        first=_parse_time(times, "--from", request.first),
        last=_parse_time(times, "--to", request.last, day=_DAY),
    )

    async def work(database: Database) -> None:
        with StatementIndex() as index:
            kept = DifferencesReport(report)
            run = Reconciliation(PostgresMovements(database, request.rail), kept, index, summary)
            run.load(request.file, shape)
            await run.compare()
        try:
            await _keep(database, request, summary, kept)
        except (StoreUnavailableError, asyncpg.InsufficientPrivilegeError) as error:
            # As on a standby, which is a good place for the reading.
            summary.not_kept = str(error)

    try:
        with_database(settings, work)
    except StatementError as error:
        raise AdministrationError(str(error)) from error
    return summary


async def _keep(
    database: Database, request: ReconciliationRequest, summary: Summary, kept: DifferencesReport
) -> None:
    counted = {name: n for name, n in counts(summary).items() if name not in ("from", "to")}
    period = {"from": summary.first, "to": summary.last}
    result = ReconciliationResult(
        id=SystemIdentities().new("rec"),
        rail=request.rail,
        file=request.file.name[:200],
        actor=await database_actor(database),
        is_clean=summary.clean,
        counts={**counted, **{name: at and at.isoformat() for name, at in period.items()}},
        findings=kept.rows,
    )
    await PostgresReconciliations(database).add(result)


def statement_format(settings: Settings, request: ReconciliationRequest) -> StatementFormat:
    """Return how to read a rail's statement. Raises AdministrationError for an unknown rail or option."""
    rail = RAILS.get(request.rail)
    if rail is None:
        raise AdministrationError(f"--rail {request.rail}: expected one of {', '.join(RAILS)}")
    try:
        zone = ZoneInfo(request.time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise AdministrationError(
            f"--time-zone {request.time_zone}: expected a name such as Africa/Accra or UTC"
        ) from error
    return StatementFormat(
        layout=rail.statement,
        named=_columns(request.columns),
        direction=Direction(request.direction) if request.direction else None,
        minor_units=request.minor_units,
        currency=rail.statement_currency(settings),
        zone=zone,
    )


def _columns(text: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, header = (piece.strip() for piece in part.partition("="))
        if name not in COLUMNS or not equals or not header:
            raise AdministrationError(
                f"--columns {part.strip()}: expected NAME=HEADER with a name of {', '.join(COLUMNS)}"
            )
        named[name] = header
    return named


def _parse_time(times: Times, option: str, text: str | None, day: timedelta = timedelta()) -> datetime | None:
    """Parses a time. Adds `day` to a date without a time, so that --to includes the whole day."""
    if text is None:
        return None
    found = times.read(text)
    if found is None:
        raise AdministrationError(f"{option} {text}: expected a time such as 2026-11-24 or 2026-11-24T18:00")
    return found + day if len(text.strip()) <= _DATE_LENGTH else found
