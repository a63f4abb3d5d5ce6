"""The commands that run something: all of it on one machine, a production role, the sandbox, a drill."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from synccash.commands.terminal import loaded, refuse


def up(
    *,
    port: int | None = None,
    sandbox_port: int = 8100,
    data_dir: Path = Path(".synccash"),
    workers: int | None = None,
    sandbox: Annotated[bool, Parameter(negative="--no-sandbox")] = True,
    sandbox_url: str | None = None,
) -> int:
    """Run everything on this machine: servers, migrations, API, worker and sandbox rails.

    Parameters
    ----------
    port
        The API's port (8000); 0 takes a free one.
    sandbox_port
        The sandbox's first port; 0 takes free ones.
    data_dir
        Where databases, keys and logs are kept.
    workers
        How many API processes (1).
    sandbox
        Simulated rails on this machine.
    sandbox_url
        A sandbox that already runs elsewhere.
    """
    from synccash.local.up import UpError, UpOptions
    from synccash.local.up import up as run
    from synccash.servers.bundle import ServersError

    given = {"SYNCCASH_PORT": port, "SYNCCASH_WORKERS": workers}
    environment = {
        **os.environ,
        **{name: str(value) for name, value in given.items() if value is not None},
    }
    options = UpOptions(
        data_dir=data_dir, sandbox_port=sandbox_port, sandbox=sandbox, sandbox_url=sandbox_url
    )
    try:
        return run(options, loaded(environment), environment)
    except (UpError, ServersError) as error:
        return refuse(str(error))


def serve(*, fd: Annotated[int | None, Parameter(show=False)] = None) -> int:
    """Serve the HTTP API, against the PostgreSQL and Valkey of the settings."""
    from synccash.processes.api import serve as run

    return run(loaded().settings, fd=fd)


def worker() -> int:
    """Move payments forward: inquiries, recovery of what a dead process left, expiry."""
    from synccash.processes.api import work

    return work(loaded().settings)


def migrate() -> int:
    """Bring the database's schema to this version. Safe to repeat, and to run from several hosts."""
    from synccash.stores.postgres.migrations import MigrationError
    from synccash.stores.postgres.migrations import migrate as run

    settings = loaded().settings
    if settings.database_url is None:
        return refuse("SYNCCASH_DATABASE_URL is not set: say which database to migrate")
    try:
        run(settings.database_url)
    except MigrationError as error:
        return refuse(str(error))
    print("the schema is up to date")
    return 0


def sandbox(*, port: int = 8100, data_dir: Path = Path(".synccash/sandbox")) -> int:
    """Only the simulated rails.

    Parameters
    ----------
    port
        The first port; each rail also has one of its own behind it.
    data_dir
        Where books and faults are kept.
    """
    from synccash.sandbox.server import main_from_cli

    return main_from_cli(port=port, data_dir=data_dir)


def drill(
    *,
    payments: int = 600,
    seed: int = 1,
    faults: str = "kill,pause,valkey,rails",
    sabotage: bool = False,
    report: Path | None = None,
) -> int:
    """Hold an outage drill on sandbox rails: real processes, real trouble, an audit of the rails' books.

    Starts an installation of its own in a temporary folder. Exit 1 on any order that was duplicated, lost, is
    stuck or ended late, and on a send after money was known to have moved. Exit 2 where the drill proves
    nothing, since a kind of trouble met no order.

    Parameters
    ----------
    payments
        How many, at 20 a second; trouble lasts as long as they come.
    seed
        Which trouble; when it meets which payment is left to the machine.
    faults
        Kinds of trouble: kill (-9 of API and worker), pause (SIGSTOP), valkey (kill -9), rails (down, slow,
        failing); also records (rails contradict themselves; from 300 payments on), rows (unreadable for this
        version), http_500 (20 s of it at every rail, before any other); or none.
    sabotage
        Have one payment debited twice on purpose: the audit has to find it, and the exit code is 1.
    report
        An HTML file to write.
    """
    from synccash.drill.command import run
    from synccash.drill.run import DrillError

    try:
        return run(payments=payments, seed=seed, faults=faults, report=report, sabotage=sabotage)
    except DrillError as error:
        return refuse(str(error))


COMMANDS = (up, serve, worker, migrate, sandbox, drill)
