"""The commands. Nothing heavy is imported before a command needs it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from synccash.settings import Loaded, Settings

INSTALL = "pip install 'synccash[server,embedded]'"
CONFIGURATION = Path("synccash.toml")


def main() -> None:
    """Entry of the `synccash` command."""
    try:
        app = _commands()
        code = app(result_action="return_value")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "synccash":
            raise
        print(
            f"synccash: this command needs {error.name}, which is not installed. Run: {INSTALL}",
            file=sys.stderr,
        )
        code = 1
    sys.exit(code)


def _commands():  # noqa: ANN202 - cyclopts may not be installed
    from cyclopts import App, Parameter

    app = App(name="synccash", help="Payment orchestrator for Ghana's mobile money.", version=_version)
    config = App(name="config", help="The effective settings.")
    app.command(config)
    app.command(_merchants())
    app.command(_keys())

    @app.command
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
        from synccash.servers.bundle import ServersError
        from synccash.up import UpError, UpOptions
        from synccash.up import up as run

        given = {"SYNCCASH_PORT": port, "SYNCCASH_WORKERS": workers}
        environment = {
            **os.environ,
            **{name: str(value) for name, value in given.items() if value is not None},
        }
        options = UpOptions(
            data_dir=data_dir, sandbox_port=sandbox_port, sandbox=sandbox, sandbox_url=sandbox_url
        )
        try:
            return run(options, _loaded(environment), environment)
        except (UpError, ServersError) as error:
            return _refuse(str(error))

    @app.command
    def serve(*, fd: Annotated[int | None, Parameter(show=False)] = None) -> int:
        """Serve the HTTP API, against the PostgreSQL and Valkey of the settings."""
        from synccash.app import serve as run

        return run(_loaded(os.environ).settings, fd=fd)

    @app.command
    def worker() -> int:
        """Move payments forward: inquiries, recovery of what a dead process left, expiry."""
        from synccash.app import work

        return work(_loaded(os.environ).settings)

    @app.command
    def migrate() -> int:
        """Bring the database's schema to this version. Safe to repeat, and to run from several hosts."""
        from synccash.stores.postgres.migrations import MigrationError
        from synccash.stores.postgres.migrations import migrate as run

        settings = _loaded(os.environ).settings
        if settings.database_url is None:
            return _refuse("SYNCCASH_DATABASE_URL is not set: say which database to migrate")
        try:
            run(settings.database_url)
        except MigrationError as error:
            return _refuse(str(error))
        print("the schema is up to date")
        return 0

    @app.command
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

    @app.command
    def drill(
        *,
        payments: int = 600,
        seed: int = 1,
        faults: str = "kill,pause,valkey,rails",
        report: Path | None = None,
    ) -> int:
        """Hold an outage drill on sandbox rails: real processes, real trouble, an audit of the rails' books.

        Exit 1 on any duplicate, lost or stuck payment.

        Parameters
        ----------
        payments
            How many, at 20 a second; trouble lasts as long as they come.
        seed
            Which trouble; when it meets which payment is left to the machine.
        faults
            Kinds of trouble: kill (-9 of API and worker), pause (SIGSTOP), valkey (kill -9), rails.
        report
            An HTML file to write.
        """
        from synccash.drill.command import run
        from synccash.drill.run import DrillError

        try:
            return run(payments=payments, seed=seed, faults=faults, report=report)
        except DrillError as error:
            return _refuse(str(error))

    @config.command
    def show() -> int:
        """Print every setting with its source. Secrets are masked."""
        for name, value, source in _loaded(os.environ).shown():
            print(f"{name:<42} {value:<32} {source}")
        return 0

    @config.command
    def check() -> int:
        """Say whether the settings can be used."""
        _loaded(os.environ)
        print("the settings are in order")
        return 0

    return app


def _merchants():  # noqa: ANN202 - cyclopts may not be installed
    from cyclopts import App

    merchants = App(name="merchants", help="Whose money it is.")

    @merchants.command
    def add(name: str, /, *, json: bool = False) -> int:
        """Make a merchant; its id is what keys are made for."""
        from synccash import administration

        return _administer(lambda settings: administration.add_merchant(settings, name), as_json=json)

    @merchants.command(name="list")
    def list_(*, json: bool = False) -> int:
        """All merchants, oldest first."""
        from synccash import administration

        return _administer(administration.list_merchants, as_json=json)

    return merchants


def _keys():  # noqa: ANN202 - cyclopts may not be installed
    from cyclopts import App

    keys = App(name="keys", help="Who may call the API.")

    @keys.command
    def create(
        *, merchant: str | None = None, live: bool = False, admin: bool = False, json: bool = False
    ) -> int:
        """Make a key for a merchant, or for an operator. Its secret is shown this once."""
        from synccash import administration

        return _administer(
            lambda settings: administration.create_key(settings, merchant=merchant, live=live, admin=admin),
            as_json=json,
        )

    @keys.command(name="list")
    def list_(*, json: bool = False) -> int:
        """All keys without their secrets, oldest first."""
        from synccash import administration

        return _administer(administration.list_keys, as_json=json)

    @keys.command
    def revoke(key_id: str, /, *, json: bool = False) -> int:
        """End a key."""
        from synccash import administration

        return _administer(lambda settings: administration.revoke_key(settings, key_id), as_json=json)

    return keys


def _administer(work: "Callable[[Settings], Any]", *, as_json: bool) -> int:
    from synccash.administration import AdministrationError, refuse, tell

    try:
        tell(work(_loaded(os.environ).settings), as_json=as_json)
    except AdministrationError as error:
        return refuse(error)
    return 0


def _loaded(environment: "Mapping[str, str]") -> "Loaded":
    from synccash.settings import SettingsError, load_settings

    try:
        return load_settings(environment, CONFIGURATION)
    except SettingsError as error:
        sys.exit(_refuse(str(error)))


def _refuse(text: str) -> int:
    for line in text.splitlines():
        print(f"synccash: {line}", file=sys.stderr)
    return 1


def _version() -> str:
    from importlib.metadata import version

    return version("synccash")


if __name__ == "__main__":
    main()
