"""Says every few seconds what a long-running command does: for a log or a pipe, which shows no moving bar."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_S = 5.0
_POLL_S = 0.5


@dataclass(slots=True)
class StatusLine:
    """Decides when a line is due: one in each interval, also while nothing changes."""

    last: float
    """When the last line was written, or the work began."""
    text: str = ""

    def due(self, now: float) -> str | None:
        """Return the line to write now, or None."""
        if not self.text or now - self.last < INTERVAL_S:
            return None
        self.last = now
        return self.text


class StatusLines:
    """Writes the lines from a thread of its own, because the work may wait in one call for long."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._line = StatusLine(time.monotonic())
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status-lines", daemon=True)

    def show(self, text: str) -> None:
        """Say this from now on. Starts the thread when it is first called."""
        self._line.text = text
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Write nothing more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_POLL_S):
            text = self._line.due(time.monotonic())
            if text is not None:
                self._write(text)
