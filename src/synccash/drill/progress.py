"""The progress of a drill: one line that is written over on a terminal, and nothing elsewhere."""

import os
import sys
from dataclasses import dataclass, field
from typing import TextIO

_WIDTH = 24


def bar(share: float) -> str:
    """Return a bar for a share from 0 to 1."""
    filled = round(max(0.0, min(1.0, share)) * _WIDTH)
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {share:4.0%}"


@dataclass(slots=True)
class Progress:
    """Shows where a drill is. Writes only to a terminal, so that a log holds the report alone."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    title: str = ""
    _shown: bool = False

    def show(self, phase: str, share: float | None = None) -> None:
        """Write the phase over the former one; `share`: how much of it is done."""
        if not self.stream.isatty():
            return
        parts = (self.title, bar(share) if share is not None else "", phase)
        columns = os.get_terminal_size(self.stream.fileno()).columns if self._has_size() else 80
        text = "  ".join(part for part in parts if part)[: columns - 1]
        self.stream.write(f"\r{text}\x1b[K")
        self.stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._shown = False

    def _has_size(self) -> bool:
        try:
            os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return False
        return True
