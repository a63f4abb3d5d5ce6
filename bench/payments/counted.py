"""Runs one process of the service and counts its Python calls and tasks between two signals:
`python -m bench.payments.counted serve …`; with COUNTED_MODULE, another module than the command line.

`python -m bench.payments.counted up …` has its children counted too.
"""

import asyncio
import cProfile
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from synccash.local import up

_FOLDER = "COUNTED_FOLDER"
_COUNTED = frozenset({"serve", "worker", "webhooks"})


class Counter:
    """Live: SIGUSR1 starts to count; the next one writes the counts, and stops."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._profile = cProfile.Profile()
        self._began: tuple[float, int] | None = None
        self._tasks = 0

    def toggle(self, *_signal: Any) -> None:
        if self._began is None:
            self._began = time.process_time(), self._tasks
            self._profile.enable()
            return
        self._profile.disable()
        cpu_s, tasks = time.process_time() - self._began[0], self._tasks - self._began[1]
        self._profile.dump_stats(self._path.with_suffix(".profile"))
        self._profile, self._began = cProfile.Profile(), None
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({"cpu_s": cpu_s, "tasks": tasks}))
        draft.replace(self._path.with_suffix(".json"))

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop that counts its tasks."""
        loop = _new_loop()
        loop.set_task_factory(self._new_task)
        return loop

    def _new_task(self, loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> asyncio.Task[Any]:
        self._tasks += 1
        return asyncio.Task(work, loop=loop, **given)


_new_loop = uvloop.new_event_loop


def main() -> None:
    role = sys.argv[1]
    if role == "up":
        up._ME = (sys.executable, "-m", "bench.payments.counted")  # pyright: ignore[reportPrivateUsage]
    elif role in _COUNTED:
        counter = Counter(Path(os.environ[_FOLDER]) / role)
        uvloop.new_event_loop = counter.new_loop
        signal.signal(signal.SIGUSR1, counter.toggle)
    runpy.run_module(os.environ.get("COUNTED_MODULE", "synccash.cli"), run_name="__main__")


if __name__ == "__main__":
    main()
