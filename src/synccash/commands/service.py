"""Commands that start processes: `up`, `serve`, `worker`, `webhooks`, `migrate`, `sandbox` and `drill`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from synccash.administration.errors import AdministrationError
from synccash.commands.terminal import loaded, print_json


def up(
    *,
    port: int | None = None,
    sandbox_port: int = 8100,
    data_dir: Path = Path(".synccash"),
    workers: int | None = None,
    sandbox: Annotated[bool, Parameter(negative="--no-sandbox")] = True,
    sandbox_url: str | None = None,
    requests: Literal["auto", "text", "json", "off"] = "auto",
) -> int:
    """Run everything on this machine: servers, migrations, API, worker, webhooks and sandbox rails.

    Parameters
    ----------
    port
        The API's port (default 8000); 0 chooses a free one.
    sandbox_port
        The sandbox's first port; 0 chooses free ones.
    data_dir
        The folder for databases, keys and logs.
    workers
        The number of API processes (default 1).
    sandbox
        Run simulated rails on this machine.
    sandbox_url
        The URL of a sandbox that already runs elsewhere.
    requests
        How the requests to the API are printed: text, json or off; auto prints text on a terminal (without
        colours where NO_COLOR is set), and JSON lines elsewhere.
    """
    from synccash.local.messages import UpError
    from synccash.local.up import UpOptions
    from synccash.local.up import up as run
    from synccash.servers.bundle import ServersError

    given = {"SYNCCASH_PORT": port, "SYNCCASH_WORKERS": workers}
    environment = {
        **os.environ,
        **{name: str(value) for name, value in given.items() if value is not None},
    }
    options = UpOptions(
        data_dir=data_dir,
        sandbox_port=sandbox_port,
        sandbox=sandbox,
        sandbox_url=sandbox_url,
        requests=requests,
    )
    try:
        return run(options, loaded(environment), environment)
    except (UpError, ServersError) as error:
        raise AdministrationError(str(error)) from error


def serve(*, fd: Annotated[int | None, Parameter(show=False)] = None) -> int:
    """Serve the HTTP API, using the PostgreSQL and Valkey from the settings."""
    from synccash.processes.api import serve as run

    return run(loaded(), fd=fd)


def worker() -> int:
    """Process orders in the background: inquiries, expiry, and recovery after a process has died."""
    from synccash.processes.worker import work

    return work(loaded().settings)


def webhooks() -> int:
    """Deliver webhooks. Any number of these processes may run; without one, no webhook is sent."""
    from synccash.processes.webhooks import deliver

    return deliver(loaded().settings)


def migrate(*, json: bool = False) -> int:
    """Migrate the database's schema to this version. Safe to repeat, and to run from several hosts.

    With SYNCCASH_MIGRATION_DATABASE_URL, migrates as that role, and gives the service's own role its rights.
    What it does is on stderr.
    """
    from synccash.administration.maintenance.migrating import migrate_and_grant
    from synccash.stores.postgres.schema.migrations import MigrationError
    from synccash.stores.postgres.schema.runtime_role import RuntimeRoleError

    settings = loaded().settings
    if settings.database_url is None and settings.migration_database_url is None:
        raise AdministrationError("SYNCCASH_DATABASE_URL is not set. Set it to the database to migrate.")
    try:
        role = migrate_and_grant(settings, say=lambda text: print(text, file=sys.stderr))
    except (MigrationError, RuntimeRoleError) as error:
        raise AdministrationError(str(error)) from error
    if json:
        return print_json({"ok": True, "role": role})
    print("The schema is up to date.")
    if role is not None:
        print(f"The role {role} has the rights that the service needs, and no others.")
    return 0


def sandbox(*, port: int = 8100, data_dir: Path = Path(".synccash/sandbox")) -> int:
    """Run only the simulated rails.

    Parameters
    ----------
    port
        The first port; each rail also gets one of the ports after it.
    data_dir
        The folder for the rails' books and faults.
    """
    from synccash.sandbox.server import main_from_cli

    return main_from_cli(port=port, data_dir=data_dir)


def demo(*, stay: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Watch payments on this machine while rails fail; the rails' books then prove that none was doubled.

    Starts its own installation in a temporary folder, and takes about a minute.

    Parameters
    ----------
    stay
        Leave everything running afterwards, with orders that wait for an operator, until Ctrl-C.
    """
    from synccash.local.demo import main

    return main(stay=stay)


def drill(
    *,
    payments: int = 600,
    seed: int = 1,
    faults: str = "kill,pause,valkey,rails",
    sabotage: bool = False,
    report: Path | None = None,
    compare: bool = False,
    json: bool = False,
) -> int:
    """Run an outage drill on sandbox rails: injects faults into real processes, then audits the rails' books.

    Starts its own installation in a temporary folder. Exits with 1 if any order was duplicated, lost, is
    stuck or ended late, or was sent again after money was known to have moved. Exits with 2 if the drill
    proves nothing because a kind of fault affected no order.

    Parameters
    ----------
    payments
        The number of payments, at 20 a second; faults continue for as long as payments arrive.
    seed
        The seed for the sequence of faults; which payments they affect depends on the machine's timing.
    faults
        Kinds of faults: kill (kill -9 of API and worker), pause (SIGSTOP), valkey (kill -9), rails (down,
        slow, failing); also records (rails contradict themselves; from 300 payments on), rows (unreadable for
        this version), http_500 (20 s of it at every rail, before any other); or none.
    sabotage
        Debit one payment twice on purpose, to prove that the audit finds it; the exit code is then 1.
    report
        Write an HTML page to this file, with everything on one time axis. It needs no other file.
    compare
        Run the same drill a second time without retries and circuit breakers, and show both side by side.
    json
        Print one JSON document instead of the text.
    """
    from synccash.drill.command import run
    from synccash.drill.run import DrillError

    try:
        return run(
            payments=payments,
            seed=seed,
            faults=faults,
            report=report,
            sabotage=sabotage,
            compare=compare,
            as_json=json,
        )
    except DrillError as error:
        raise AdministrationError(str(error)) from error


COMMANDS = (up, demo, serve, worker, webhooks, migrate, sandbox, drill)
