"""Starts child processes, restarts those that end, and stops all of them in order."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from synccash.servers.process import spawn

_PAUSE_MAX_S = 5.0
_HEALTHY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to run. `log` receives its output; after `grace_s` without stopping it is killed."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    log: Path | None
    pass_fds: Sequence[int] = ()
    grace_s: float = 20.0


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    due_at: float | None = None


@dataclass(slots=True)
class PreparedChild:
    """A child that was started before its environment is known. `pipe`: where it waits for it."""

    child: _Child
    pipe: int

    def release(self, env: Mapping[str, str]) -> None:
        """Send the child its environment; one that has ended meanwhile is restarted with it."""
        self.child.program = replace(self.child.program, env=env)
        with contextlib.suppress(BrokenPipeError), open(self.pipe, "w", encoding="utf-8") as pipe:  # noqa: PTH123
            json.dump(dict(env), pipe)


@dataclass(slots=True)
class Supervisor:
    """Supervises the children of this process. Use it from the main thread only.

    `say` prints what happened to a child on the terminal.
    """

    say: Callable[[str], None]
    _children: list[_Child] = field(default_factory=list["_Child"])
    _stop: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Installs handlers for SIGTERM and SIGINT that end `watch`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)

    def _on_stop_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def add(self, program: Program) -> None:
        """Starts a program. `watch` restarts it whenever it ends."""
        self._children.append(_Child(program, _start(program), time.monotonic()))

    def prepare(self, program: Program) -> PreparedChild:
        """Start a program that reads its environment from `--environment-fd` once it is imported.

        A restart gets its environment as any other program.
        """
        reading, writing = os.pipe()
        try:
            argv = [*program.argv, "--environment-fd", str(reading)]
            first = replace(program, argv=argv, pass_fds=(*program.pass_fds, reading))
            child = _Child(program, _start(first), time.monotonic())
        finally:
            os.close(reading)
        self._children.append(child)
        return PreparedChild(child, writing)

    def alive(self, name: str) -> bool:
        """Returns True while every child with this name runs."""
        return all(c.process.poll() is None for c in self._children if c.program.name == name)

    def pause(self, seconds: float) -> bool:
        """Waits. Returns True if a stop was requested meanwhile."""
        return self._stop.wait(seconds)

    def watch(self, tend: Callable[[], None], period_s: float = 0.1) -> None:
        """Restarts children that end and calls `tend` every `period_s`, until a stop is requested."""
        while not self._stop.wait(period_s):
            for child in self._children:
                self._restart_if_ended(child)
            tend()

    def _restart_if_ended(self, child: _Child) -> None:
        now = time.monotonic()
        if child.due_at is None:
            code = child.process.poll()
            if code is None:
                return
            child.failures = 1 if now - child.started_at > _HEALTHY_AFTER_S else child.failures + 1
            pause_s = min(_PAUSE_MAX_S, 0.1 * 2 ** (child.failures - 1))
            child.due_at = now + pause_s
            where = f"; its log is {child.program.log}" if child.program.log else ""
            self.say(
                f"{child.program.name} ended ({_exit_reason(code)}); restarting in {pause_s:.1f} s{where}"
            )
        if now >= child.due_at:
            child.process, child.started_at, child.due_at = _start(child.program), now, None

    def stop(self) -> None:
        """Stops the children, the last started first. Kills a child that exceeds its `grace_s`."""
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


def _exit_reason(code: int) -> str:
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
