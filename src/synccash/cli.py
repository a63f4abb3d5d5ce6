"""The `synccash` command line. Imports the groups of commands late, so that it starts quickly."""

import os
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]

INSTALL = "pip install 'synccash[server,embedded]'"
_JSON = "--json"
_INTERRUPTED, _BROKEN_PIPE = 130, 141
"""The exit codes after Ctrl-C and of a writer whose reader has ended, as shells give them."""


def main(words: "Sequence[str] | None" = None) -> None:
    """Runs the `synccash` command with these words, or those of the command line, and exits with its code."""
    given = list(sys.argv[1:] if words is None else words)
    try:
        code = _outcome(given)
        # Here, and not at the exit of the interpreter, which would report a closed pipe with a traceback.
        print(end="", flush=True)
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has enough. Python would report it again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _BROKEN_PIPE
    except SystemExit as ended:
        # Rich, which prints the help, ends the program with 1 when the pipe is closed.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        code = _BROKEN_PIPE
    sys.exit(code)


def _outcome(words: "Sequence[str]") -> int:
    """Runs a command, prints its error if it fails, and returns the exit code."""
    from synccash.administration.errors import AdministrationError
    from synccash.commands.terminal import refuse

    as_json = _JSON in words
    try:
        return _run(words)
    except AdministrationError as error:
        return refuse(str(error), as_json=as_json)
    except EOFError:
        print(file=sys.stderr)  # the question stands on this line
        text = (
            "The input has ended. Run this command in a terminal, where it asks for passwords and codes; "
            "a program uses a token of `synccash operators create-token`"
        )
        return refuse(text, as_json=as_json)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "synccash":
            raise
        text = f"This command needs {error.name}, which is not installed. Run: {INSTALL}"
        return refuse(text, as_json=as_json)


def _run(words: "Sequence[str]") -> int:
    if "--child" in words[1:2]:
        from synccash.commands.child import run_child

        return run_child(words)
    from cyclopts import CycloptsError

    from synccash.administration.errors import AdministrationError

    try:
        return commands()(words, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise AdministrationError(str(error)) from error


def commands() -> "App":
    """Builds the command line with all commands and their examples."""
    from cyclopts import App

    from synccash.commands import backup, erasure, service
    from synccash.commands.approvals import APPROVALS
    from synccash.commands.audit import AUDIT
    from synccash.commands.balances import BALANCES
    from synccash.commands.breakers import BREAKERS
    from synccash.commands.config import CONFIG
    from synccash.commands.console import console
    from synccash.commands.doctor import doctor
    from synccash.commands.encryption import ENCRYPTION
    from synccash.commands.examples import EXAMPLES, epilogue
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
    alone = (*COMMANDS, *backup.COMMANDS, console, doctor, health, history, reconcile, listen)
    for command in (*service.COMMANDS, *alone, *nouns, *erasure.COMMANDS):
        app.command(command)
    app.command(_completion(app), name="completion")
    for path, examples in EXAMPLES.items():
        found = app
        for name in path.split():
            found = found[name]
        found.help_epilogue = epilogue(examples)
    return app


def _completion(app: "App") -> "Callable[[Shell], int]":
    def completion(shell: Shell, /) -> int:
        """Print the completion script for a shell: where to put it, see the examples."""
        print(app.generate_completion(shell=shell))
        return 0

    return completion


def _version() -> str:
    from synccash import __version__

    return __version__


if __name__ == "__main__":
    main()
