"""Runs a process: its logging, its event loop and its exit code."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import uvloop

from synccash.observability.logs import configure_logging
from synccash.settings.live_mode import refuse_insecure
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.secret import Secret
from synccash.stores.postgres.errors import MIGRATE, OTHER_SCHEMA, SchemaNotReadyError

log = structlog.get_logger("synccash")


Role = Callable[[Secret], Coroutine[Any, Any, None]]


def run_process(settings: Settings, role: Role) -> int:
    """Run `role` with the database's URL until it returns; return the exit code.

    A role first waits for the schema. Where PostgreSQL did not answer in time, it goes on without it, and its
    start may then fail because the schema is of another version. It begins again then, once: now PostgreSQL
    answers.
    """
    configure_logging(settings.log_level)
    if settings.database_url is None:
        return _refuse("SYNCCASH_DATABASE_URL is not set; set it to the URL of your PostgreSQL database")
    try:
        refuse_insecure(settings)
        if not _starts(role, settings.database_url):
            _run(role, settings.database_url)
    except SettingsError as error:
        return _refuse(error)
    except (SchemaNotReadyError, *OTHER_SCHEMA):
        return _refuse(MIGRATE)
    return 0


def _starts(role: Role, database_url: Secret) -> bool:
    """Run the role to its end. Returns False if its start failed because of the schema."""
    try:
        _run(role, database_url)
    except SchemaNotReadyError as error:
        log.warning("began_again", reason=str(error), detail=MIGRATE)
        return False
    return True


def _run(role: Role, database_url: Secret) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(role(database_url))


def _refuse(why: object) -> int:
    print(f"synccash: {why}", file=sys.stderr)
    return 1
