"""Keeps a set of child processes alive, and stops them in order. It does no work of its own."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from synccash.servers.process import spawn

_LONGEST_PAUSE_S = 5.0
_HEALTHY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `log` receives all it prints; `grace_s` is how long it may take to stop."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path | None
    pass_fds: Sequence[int] = ()
    grace_s: float = 20.0


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started_at: float
    deaths: int = 0
    due_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Live: the children of this process. Use it from the main thread only.

    `say` tells the person at the terminal what happened to a child.
    """

    say: Callable[[str], None]
    _children: list[_Child] = field(default_factory=list["_Child"])
    _stop: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Let SIGTERM and SIGINT end `watch`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def add(self, program: Program) -> None:
        """Start a program; from now on it is started again whenever it dies."""
        self._children.append(_Child(program, _start(program), time.monotonic()))

    def alive(self, name: str) -> bool:
        """True while every child of that name runs."""
        return all(c.process.poll() is None for c in self._children if c.program.name == name)

    def pause(self, seconds: float) -> bool:
        """Wait; True when the stop was asked for meanwhile."""
        return self._stop.wait(seconds)

    def watch(self, tend: Callable[[], None], period_s: float = 0.1) -> None:
        """Restart what dies, and call `tend` now and then, until somebody asks to stop."""
        while not self._stop.wait(period_s):
            for child in self._children:
                self._revive(child)
            tend()

    def _revive(self, child: _Child) -> None:
        now = time.monotonic()
        if child.due_at is None:
            code = child.process.poll()
            if code is None:
                return
            child.deaths = 1 if now - child.started_at > _HEALTHY_AFTER_S else child.deaths + 1
            pause_s = min(_LONGEST_PAUSE_S, 0.1 * 2 ** (child.deaths - 1))
            child.due_at = now + pause_s
            where = f"; its log is {child.program.log}" if child.program.log else ""
            self.say(
                f"{child.program.name} ended ({_how(code)}); starting it again in {pause_s:.1f} s{where}"
            )
        if now >= child.due_at:
            child.process, child.started_at, child.due_at = _start(child.program), now, None

    def stop(self) -> None:
        """Stop the children, those started last first; what does not end in its grace is killed."""
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.terminate()
            try:
                child.process.wait(child.program.grace_s)
            except subprocess.TimeoutExpired:
                self.say(f"{child.program.name} did not stop within {child.program.grace_s:.0f} s: killed")
                child.process.kill()
                child.process.wait()
        self._children.clear()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def _start(program: Program) -> subprocess.Popen[bytes]:
    if program.log is None:
        return spawn(program.argv, env=program.env, pass_fds=program.pass_fds)
    descriptor = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return spawn(
            program.argv, env=program.env, pass_fds=program.pass_fds, stdout=descriptor, stderr=descriptor
        )
    finally:
        os.close(descriptor)
