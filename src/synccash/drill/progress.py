"""The progress of a drill: a line that is written over on a terminal, and one every few seconds elsewhere."""

import os
import sys
from dataclasses import dataclass, field
from typing import TextIO

from synccash.local.status_lines import StatusLines

_WIDTH = 24


def bar(share: float) -> str:
    """Return a bar for a share from 0 to 1."""
    filled = round(max(0.0, min(1.0, share)) * _WIDTH)
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {share:4.0%}"


@dataclass(slots=True)
class Progress:
    """Shows where a drill is."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    title: str = ""
    _shown: bool = False
    _lines: StatusLines | None = None

    def show(self, phase: str, share: float | None = None) -> None:
        """Write the phase over the former one; `share`: how much of it is done."""
        parts = (self.title, bar(share) if share is not None else "", phase)
        if not self.stream.isatty():
            self._lines = self._lines or StatusLines(self._write_line)
            self._lines.show("  ".join(part for part in parts if part))
            return
        columns = os.get_terminal_size(self.stream.fileno()).columns if self._has_size() else 80
        text = "  ".join(part for part in parts if part)[: columns - 1]
        self.stream.write(f"\r{text}\x1b[K")
        self.stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Remove the line, and write no more of them."""
        if self._lines is not None:
            self._lines.stop()
            self._lines = None
        if self._shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._shown = False

    def _write_line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _has_size(self) -> bool:
        try:
            os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return False
        return True
