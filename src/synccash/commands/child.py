"""Runs one process of `synccash up`, which needs no parser of command lines.

The process imports its program while `up` still prepares what the program needs; then `up` sends it its
environment.
"""

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from synccash.commands.terminal import loaded

_UNUSED = ("rich", "opentelemetry.sdk")
"""What structlog and redis-py import where it is installed, and the service uses in neither of them."""

_GARBAGE = 10_000, 20, 20
"""Thresholds of the garbage collector. With Python's own (700, 10, 10) it takes 4 % of the API's CPU, and 9 %
after 30,000 payments, because it walks the counts of the payers each time."""


def run_child(words: Sequence[str]) -> int:
    """Run the process that these words name until it ends; return its exit code.

    The words are its name, `--child`, and pairs of options and values.
    """
    name, _, *given = words
    options = dict(zip(given[::2], given[1::2], strict=True))
    # Importing makes objects that stay: collecting them in between only costs time.
    gc.disable()
    start = imported_program(name, options)
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    gc.enable()
    if "--environment-fd" in options:
        with open(int(options["--environment-fd"]), encoding="utf-8") as sent:  # noqa: PTH123 - a descriptor
            text = sent.read()
        if not text:
            return 0  # `up` has ended before it was ready
        os.environ.clear()
        os.environ.update(json.loads(text))
    return start()


def imported_program(name: str, options: dict[str, str]) -> Callable[[], int]:
    """Import the program of a process, and return the function that runs it."""
    with _without(*_UNUSED):
        return _PROGRAMS[name](options)


@contextlib.contextmanager
def _without(*modules: str) -> Generator[None]:
    """Let imports of these modules fail, as where they are not installed: they take a tenth of the time that
    a process needs to start. Modules that are imported already stay."""
    absent = [name for name in modules if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _serve(options: dict[str, str]) -> Callable[[], int]:
    from synccash.processes.api import serve

    return lambda: serve(loaded(), fd=int(options["--fd"]))


def _worker(_options: dict[str, str]) -> Callable[[], int]:
    from synccash.processes.worker import work

    return lambda: work(loaded().settings)


def _webhooks(_options: dict[str, str]) -> Callable[[], int]:
    from synccash.processes.webhooks import deliver

    return lambda: deliver(loaded().settings)


def _sandbox(options: dict[str, str]) -> Callable[[], int]:
    from synccash.sandbox.server import main_from_cli

    return lambda: main_from_cli(port=int(options["--port"]), data_dir=Path(options["--data-dir"]))


_PROGRAMS = {"serve": _serve, "worker": _worker, "webhooks": _webhooks, "sandbox": _sandbox}
