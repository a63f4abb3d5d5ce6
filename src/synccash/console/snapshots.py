"""Streams the overview to all viewers as server-sent events: one snapshot at a time for the process."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from synccash.middleware.refusal import Scope

log = structlog.get_logger("synccash.console")
PAUSE_S = 2.0
"""Pause between two snapshots, in seconds."""
HEARTBEAT_S = 2.0
"""A viewer gets something at least this often, so that proxies and browsers keep the connection, and its
session is checked as often."""
END = b"event: end\ndata: signed out\n\n"


@dataclass(frozen=True, slots=True)
class Viewer:
    """An open stream: the request, and the session that it belongs to."""

    scope: Scope
    token: str
    token_hash: bytes


Load = Callable[[Viewer], Awaitable[str]]
IsSignedIn = Callable[[Viewer], Awaitable[bool]]


@dataclass(slots=True)
class SnapshotHub:
    """Live: one per process. While somebody views, `load` returns the HTML of a new snapshot every
    `pause_s` seconds, on behalf of one of the viewers, and all of them get it."""

    pause_s: float = PAUSE_S
    heartbeat_s: float = HEARTBEAT_S
    clock: Callable[[], float] = time.monotonic
    _load: Load | None = None
    _viewers: list[Viewer] = field(default_factory=list[Viewer])
    _frame: bytes = b""
    _number: int = 0
    _is_closed: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return len(self._viewers)

    def use(self, load: Load) -> None:
        """Set what loads a snapshot."""
        self._load = load

    async def stream(self, viewer: Viewer, is_signed_in: IsSignedIn) -> AsyncGenerator[bytes]:
        """Yield the frames of one stream until the session ends or the process stops.

        A viewer who reads slowly misses snapshots, and gets the latest one next.
        """
        self._viewers.append(viewer)
        seen, checked_at = 0, self.clock()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._refresh())
            seen = self._number  # The latest snapshot is as old as the last viewer.
        try:
            yield b"retry: 2000\n\n"
            while not self._is_closed:
                if self.clock() - checked_at >= self.heartbeat_s:
                    if not await is_signed_in(viewer):
                        yield END
                        return
                    checked_at = self.clock()
                if not self._is_viewer(viewer):
                    yield END
                    return
                if self._number != seen:
                    seen = self._number
                    yield self._frame
                elif not await self._wait():
                    yield b": heartbeat\n\n"
        finally:
            if self._is_viewer(viewer):
                self._viewers = [one for one in self._viewers if one is not viewer]
            if not self._viewers:
                self._stop_loop()

    def end(self, token_hash: bytes) -> None:
        """End the streams of a session."""
        self._viewers = [one for one in self._viewers if one.token_hash != token_hash]
        self._wake()

    def close(self) -> None:
        """End all streams, as before the process stops: a server waits for open responses."""
        self._is_closed = True
        self._stop_loop()
        self._wake()

    def _is_viewer(self, viewer: Viewer) -> bool:
        return any(one is viewer for one in self._viewers)

    async def _wait(self) -> bool:
        """Wait for the next change. Returns False if there was none within the heartbeat."""
        try:
            async with asyncio.timeout(self.heartbeat_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _refresh(self) -> None:
        while self._viewers and self._load is not None:
            try:
                html = await self._load(self._viewers[-1])
            except Exception:
                # The next one may succeed: the page says how old its numbers are.
                log.exception("snapshot_failed")
            else:
                self._frame = _frame(html)
                self._number += 1
                self._wake()
            await asyncio.sleep(self.pause_s)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _stop_loop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None


def _frame(html: str) -> bytes:
    """Return an event without a name, which htmx puts into the page."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"{lines}\n".encode()
