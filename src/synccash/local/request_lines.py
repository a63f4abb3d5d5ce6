"""Prints the requests of an installation as they are served, read from the logs of its API processes."""

import json
import os
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

RequestFormat = Literal["auto", "text", "json", "off"]

_READ_MAX = 1 << 18
"""Bytes that are read of one log at once: the supervisor must not wait for a busy API."""
_LINE_MAX = 4_000
"""A longer line is left out: what fits into PIPE_BUF never blocks a pipe that has room."""
_MARK = b'"event": "request"'
_COLOURS = {2: "32", 3: "36", 4: "33", 5: "31"}
"""ANSI colours by the class of the HTTP status."""
_ORDER_IDS = ("order_id", "payment_id", "refund_id", "payout_id")


def is_coloured(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """True on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def resolved(chosen: RequestFormat, stream: TextIO) -> RequestFormat:
    """Return the format in which requests are printed: text on a terminal, JSON lines elsewhere."""
    if chosen == "auto":
        return "text" if stream.isatty() else "json"
    return chosen


def request_text(request: Mapping[str, Any], *, colour: bool) -> str:
    """Return the line of one request: time, status, method, route, duration, order and code."""
    status = request.get("status")
    shown = "---" if status is None else str(status)
    if colour:
        shown = f"\x1b[{_COLOURS.get((status or 500) // 100, '0')}m{shown}\x1b[0m"
    parts = (
        str(request.get("timestamp", ""))[11:19],
        shown,
        str(request.get("method", "")).ljust(4),
        str(request.get("route") or "(no route)"),
        f"{request.get('took_ms', 0):.0f} ms",
        next((str(request[name]) for name in _ORDER_IDS if request.get(name)), ""),
        str(request.get("code") or ""),
    )
    return "  ".join(part for part in parts if part)


@dataclass(slots=True)
class RequestLines:
    """Follows log files from their present ends, and writes the requests in them to `stream`.

    Never blocks: while nobody reads the stream, lines are left out.
    """

    logs: Sequence[Path]
    stream: TextIO
    kind: RequestFormat
    colour: bool
    _read_to: dict[Path, int] = field(default_factory=dict[Path, int])

    def skip_old(self) -> None:
        """Skip what the logs hold now: the requests of an earlier run."""
        self._read_to = {path: path.stat().st_size if path.exists() else 0 for path in self.logs}

    def forward(self) -> None:
        """Write the requests that were logged since the last call."""
        if self.kind == "off":
            return
        for path in self.logs:
            for line in self._new_lines(path):
                if _MARK in line and len(line) < _LINE_MAX:
                    self._show(line)

    def _new_lines(self, path: Path) -> list[bytes]:
        """Return the complete new lines of a log. A log that became shorter is read from its start."""
        at = self._read_to.get(path, 0)
        try:
            with path.open("rb") as file:
                at = 0 if os.fstat(file.fileno()).st_size < at else at
                file.seek(at)
                new = file.read(_READ_MAX)
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        # A line longer than what is read at once is skipped.
        self._read_to[path] = at + (len(new) if len(new) == _READ_MAX and not whole else len(whole))
        return whole.splitlines()

    def _show(self, line: bytes) -> None:
        if not _has_room(self.stream):
            return
        try:
            request = json.loads(line)
        except ValueError:
            return
        text = request_text(request, colour=self.colour) if self.kind == "text" else line.decode()
        self.stream.write(text + "\n")
        self.stream.flush()


def _has_room(stream: TextIO) -> bool:
    """True when a line can be written without waiting."""
    return bool(select.select([], [stream], [], 0)[1])
