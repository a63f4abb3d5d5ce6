"""The `synccash` command line. Imports the groups of commands late, so that it starts quickly."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import App

INSTALL = "pip install 'synccash[server,embedded]'"
_INTERRUPTED, _BROKEN_PIPE = 130, 141
"""The exit codes after Ctrl-C and of a writer whose reader has ended, as shells give them."""


def main(words: "Sequence[str] | None" = None) -> None:
    """Runs the `synccash` command with these words, or those of the command line, and exits with its code."""
    given = sys.argv[1:] if words is None else words
    if "--child" in given[1:2]:
        from synccash.commands.child import run_child

        sys.exit(run_child(given))
    from synccash.administration.errors import AdministrationError
    from synccash.commands.terminal import refuse

    try:
        code = _commands()(words, result_action="return_value")
    except AdministrationError as error:
        code = refuse(str(error))
    except EOFError:
        print(file=sys.stderr)  # the question stands on this line
        code = refuse(
            "The input has ended. Run this command in a terminal, where it asks for passwords and codes; "
            "a program uses a token of `synccash operators create-token`"
        )
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has enough. Python would report it again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _BROKEN_PIPE
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "synccash":
            raise
        code = refuse(f"This command needs {error.name}, which is not installed. Run: {INSTALL}")
    sys.exit(code)


def _commands() -> "App":
    from cyclopts import App

    from synccash.commands import erasure, service
    from synccash.commands.approvals import APPROVALS
    from synccash.commands.audit import AUDIT
    from synccash.commands.balances import BALANCES
    from synccash.commands.breakers import BREAKERS
    from synccash.commands.config import CONFIG
    from synccash.commands.console import console
    from synccash.commands.encryption import ENCRYPTION
    from synccash.commands.health import health
    from synccash.commands.history import history
    from synccash.commands.listen import listen
    from synccash.commands.merchants import KEYS, MERCHANTS
    from synccash.commands.operators import COMMANDS, OPERATORS
    from synccash.commands.payments import PAYMENTS
    from synccash.commands.rails import RAILS
    from synccash.commands.reconcile import reconcile
    from synccash.commands.recovery import RECOVERY
    from synccash.commands.routes import ROUTES

    app = App(name="synccash", help="Payment orchestrator for mobile money in Ghana.", version=_version)
    nouns = (
        CONFIG,
        MERCHANTS,
        KEYS,
        PAYMENTS,
        BALANCES,
        BREAKERS,
        RAILS,
        ROUTES,
        RECOVERY,
        ENCRYPTION,
        OPERATORS,
        APPROVALS,
        AUDIT,
    )
    alone = (*COMMANDS, console, health, history, reconcile, listen)
    for command in (*service.COMMANDS, *alone, *nouns, *erasure.COMMANDS):
        app.command(command)
    return app


def _version() -> str:
    from importlib.metadata import version

    return version("synccash")


if __name__ == "__main__":
    main()
