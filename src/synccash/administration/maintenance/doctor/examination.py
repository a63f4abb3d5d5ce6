"""Runs the doctor's checks, each with a deadline of its own, and collects their findings."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from synccash.administration.maintenance.doctor import judgements, readers
from synccash.administration.maintenance.doctor.readers import NotApplicableError, ServerFailedError, Subject
from synccash.administration.maintenance.doctor.readings import Finding, Level

DEADLINE_S = 10.0
"""How long one check may take, in seconds. All but the first two run at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the table. `remedy`: what to do when the reading itself fails."""

    name: str
    read: Callable[[Subject], Awaitable[Any]]
    judge: Callable[[Any], Iterator[Finding]]
    remedy: str
    needs_database: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The findings of one check. `was_read`: there was something to judge."""

    check: str
    findings: Sequence[Finding]
    was_read: bool = True

    @property
    def has_failed(self) -> bool:
        """Whether one of the findings is a failure."""
        return any(finding.level is Level.FAILED for finding in self.findings)


def _audited(_entry: None) -> Iterator[Finding]:
    yield Finding(Level.OK, "this run is in the audit log")


DATABASE = Check(
    name="database",
    read=readers.read_database,
    judge=judgements.judge_database,
    remedy="check that PostgreSQL runs, and host, port, user, password and sslmode of SYNCCASH_DATABASE_URL",
)
AUDIT = Check(
    name="audit",
    read=readers.write_entry,
    judge=_audited,
    remedy="the database takes no writes of this role, so this run is not in the audit log; see the checks "
    "database, schema and role",
    needs_database=True,
)
CHECKS: Sequence[Check] = (
    Check(
        name="settings",
        read=readers.read_settings,
        judge=judgements.judge_settings,
        remedy="run `synccash config check`",
    ),
    Check(
        name="schema",
        read=readers.read_schema,
        judge=judgements.judge_schema,
        remedy="run `synccash migrate`",
        needs_database=True,
    ),
    Check(
        name="role",
        read=readers.read_role,
        judge=judgements.judge_role,
        remedy="run `synccash migrate` with SYNCCASH_MIGRATION_DATABASE_URL",
        needs_database=True,
    ),
    Check(
        name="due_payments",
        read=readers.read_due_payments,
        judge=judgements.judge_due_payments,
        remedy="run the doctor again when the database answers",
        needs_database=True,
    ),
    Check(
        name="encryption",
        read=readers.read_encryption,
        judge=judgements.judge_encryption,
        remedy="run `synccash migrate`, and set the keys of the service's processes",
        needs_database=True,
    ),
    Check(
        name="valkey",
        read=readers.read_valkey,
        judge=judgements.judge_valkey,
        remedy="check that Valkey runs, and host, port, user, password and TLS of SYNCCASH_VALKEY_URL; "
        "meanwhile the service works, and limits and breakers count per process",
    ),
    Check(
        name="rails",
        read=readers.read_rails,
        judge=judgements.judge_rails,
        remedy="check the settings of the rails",
    ),
    Check(
        name="clock",
        read=readers.read_clocks,
        judge=judgements.judge_clock,
        remedy="run the doctor again when the database and the rails answer",
        needs_database=True,
    ),
    Check(
        name="disk",
        read=readers.read_disks,
        judge=judgements.judge_disk,
        remedy="check that the file systems are mounted and can be read",
    ),
    Check(
        name="tls",
        read=readers.read_certificates,
        judge=lambda readings: judgements.judge_certificates(readings, datetime.now(UTC)),
        remedy="check that the file of tls_certificate exists and can be read",
    ),
    Check(
        name="callback_url",
        read=readers.read_public,
        judge=judgements.judge_callback_url,
        remedy="check public_url",
    ),
    Check(
        name="proxy",
        read=readers.read_proxies,
        judge=judgements.judge_proxies,
        remedy="check public_url and trusted_proxies",
    ),
)
"""Every check that runs after the database was reached and the run was written to the audit log."""


async def examine(subject: Subject, *, deadline_s: float = DEADLINE_S) -> list[CheckResult]:
    """Run all checks, and return their results in the order of the table."""
    database = await _run(DATABASE, subject, deadline_s)
    reached = database.was_read
    # The entry comes first: a break-glass action is recorded before it is done.
    audit = await _run_or_skip(AUDIT, subject, deadline_s, reached=reached)
    try:
        others = await asyncio.gather(
            *(_run_or_skip(check, subject, deadline_s, reached=reached) for check in CHECKS)
        )
    finally:
        await subject.close()
    return [others[0], database, audit, *others[1:]]


async def _run_or_skip(check: Check, subject: Subject, deadline_s: float, *, reached: bool) -> CheckResult:
    if check.needs_database and not reached:
        return _unread(check, Level.SKIPPED, "not checked, because the database cannot be reached")
    return await _run(check, subject, deadline_s)


async def _run(check: Check, subject: Subject, deadline_s: float) -> CheckResult:
    try:
        async with asyncio.timeout(deadline_s):
            reading = await check.read(subject)
    except NotApplicableError as why:
        return _unread(check, Level.SKIPPED, str(why))
    except ServerFailedError as failed:
        return _unread(check, Level.FAILED, str(failed), f"{failed.remedy} Else {check.remedy}.")
    except TimeoutError:
        return _unread(check, Level.FAILED, f"no result within {deadline_s:g} s", check.remedy)
    except Exception as error:
        # A doctor that dies of the disease helps nobody: each failure is the finding of its own check.
        why = str(error).partition("\n")[0] or type(error).__name__
        return _unread(check, Level.FAILED, why, check.remedy)
    return CheckResult(check.name, list(check.judge(reading)))


def _unread(check: Check, level: Level, message: str, remedy: str | None = None) -> CheckResult:
    return CheckResult(check.name, [Finding(level, message, remedy)], was_read=False)
