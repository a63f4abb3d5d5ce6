"""Starts, watches, restarts and stops one server process."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synccash.servers.errors import ServersError
from synccash.servers.process import Account, spawn

_READY_POLL_S = 0.005
_LOG_KEPT_BYTES = 10_000_000
_LONGEST_PAUSE_S = 5.0
_STEADY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """How to run a server.

    `answers(pid)` is true once it accepts connections; `patience_s` limits the wait for that, crash recovery
    included. `endings` are the signals to stop it, the gentlest first, each with its seconds to take effect;
    the first is also sent when this process dies. `sweep` runs before each start and removes what a dead
    process left behind. `forget`, if given, deletes stored data that may prevent the start; it runs once.
    """

    name: str
    argv: Sequence[str]
    folder: Path
    log: Path
    account: Account | None
    answers: Callable[[int], bool]
    sweep: Callable[[], None]
    patience_s: float
    endings: Sequence[tuple[signal.Signals, float]]
    forget: Callable[[], None] | None = None


@dataclass(slots=True)
class Server:
    """One server of this process. `lock` is a file descriptor that the server keeps open while it runs."""

    spec: ServerSpec
    lock: int
    process: subprocess.Popen[bytes] = field(init=False)
    _started_at: float = field(init=False, default=0.0)
    _log_from: int = field(init=False, default=0)
    _deaths: int = field(init=False, default=0)
    _due_at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, without waiting until it accepts connections."""
        self.spec.sweep()
        log = self.spec.log
        if log.exists() and log.stat().st_size > _LOG_KEPT_BYTES:
            log.replace(log.with_suffix(".old.log"))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._log_from = os.fstat(output).st_size
            self.process = spawn(
                self.spec.argv,
                env=environment(),
                cwd=self.spec.folder,
                account=self.spec.account,
                stdout=output,
                stderr=output,
                pass_fds=(self.lock,),
                death_signal=self.spec.endings[0][0],
            )
        finally:
            os.close(output)
        self._started_at, self._due_at = time.monotonic(), None

    def wait(self) -> None:
        """Return when it accepts connections. Raises ServersError with the end of its log if it fails."""
        end = self._started_at + self.spec.patience_s
        forget = self.spec.forget
        while not self.spec.answers(self.process.pid):
            if (dead := self.ended()) is not None:
                if forget is not None:
                    forget()
                    forget = None
                    self.start()
                    continue
                raise ServersError(f"{dead}\n{self._log_tail()}")
            if time.monotonic() > end:
                raise ServersError(
                    f"{self.spec.name} did not answer within {self.spec.patience_s:.0f} s;"
                    f" its log is {self.spec.log}\n{self._log_tail()}"
                )
            time.sleep(_READY_POLL_S)

    def ended(self) -> str | None:
        """Return a sentence on how it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{self.spec.name} (pid {self.process.pid}) ended {how}; its log is {self.spec.log}"

    def tend(self, say: Callable[[str], None]) -> None:
        """Restart it when it has died, after a pause that grows with each further death."""
        dead = self.ended()
        if dead is None:
            return
        now = time.monotonic()
        if self._due_at is None:
            self._deaths = 1 if now - self._started_at > _STEADY_AFTER_S else self._deaths + 1
            pause_s = min(_LONGEST_PAUSE_S, 0.1 * 2 ** (self._deaths - 1))
            self._due_at = now + pause_s
            say(f"{dead}; starting it again in {pause_s:.1f} s")
        if now >= self._due_at:
            self.start()

    def stop(self) -> None:
        """Stop it: with a gentle signal first, then with stronger ones. Does nothing when it has ended."""
        for number, patience_s in self.spec.endings:
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        self.process.kill()
        self.process.wait()

    def _log_tail(self) -> str:
        with self.spec.log.open("rb") as file:
            file.seek(self._log_from)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-12:])


def environment() -> dict[str, str]:
    """Return the environment of a server: without secrets, and without PG* variables that configure it."""
    kept = ("PATH", "LD_LIBRARY_PATH")
    return {"LC_ALL": "C"} | {name: os.environ[name] for name in kept if name in os.environ}
