"""A journal of what must survive a kill -9, written before the answer leaves."""

import os
from pathlib import Path
from typing import Any

import msgspec

from synccash.sandbox.faults import Faults, Script
from synccash.sandbox.orders import Order, State


class Accepted(msgspec.Struct, tag="accepted", frozen=True):
    """A money request was accepted; the prompt is on the payer's phone."""

    order: Order


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """An accepted request ended: the money moved, or it did not."""

    reference: str
    state: State
    reason: str | None
    at: float
    amount: int | None = None
    """The amount that moved, where it differs from the amount of the request."""


class CalledBack(msgspec.Struct, tag="called_back", frozen=True):
    """The callback for an ended request leaves now; it is never sent a second time."""

    reference: str


class Requested(msgspec.Struct, tag="requested", frozen=True):
    """A money request reached the rail, whatever became of it."""


class FaultsSet(msgspec.Struct, tag="faults", frozen=True):
    """The standing faults were changed."""

    faults: Faults


class ScriptSet(msgspec.Struct, tag="script", frozen=True):
    """The script was written, or a step of it was used."""

    script: Script


class Learned(msgspec.Struct, tag="learned", frozen=True):
    """Something that only the rail's own wire format understands: a credential, a token, a setting."""

    fact: dict[str, Any]


class FaultOccurred(msgspec.Struct, tag="fault_occurred", frozen=True):
    """A fault changed an answer, a callback or the book for this order."""

    name: str
    reference: str


class PendingSeen(msgspec.Struct, tag="pending_seen", frozen=True):
    """A status answer has shown a pending order."""

    reference: str


Event = (
    Accepted | Ended | CalledBack | Requested | FaultsSet | ScriptSet | Learned | FaultOccurred | PendingSeen
)


class JournalError(Exception):
    """A journal that cannot be used; the message names the file and what to do."""


class Journal:
    """An append-only file of events, one JSON line each.

    A line goes to the operating system in one unbuffered write, so it outlives the process; it is not forced
    to the disk, so it need not outlive the machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def events(self) -> list[Event]:
        """Return what was written so far, dropping a last line that a kill cut short.

        Raises:
            JournalError: if a whole line is unreadable: the file was edited, or is of another version.
        """
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        os.ftruncate(self._descriptor, whole)
        decoder = msgspec.json.Decoder(Event)
        try:
            return decoder.decode_lines(content[:whole])
        except msgspec.DecodeError as error:
            raise JournalError(
                f"{self._path} cannot be read ({error}); move it away to start with an empty book"
            ) from error

    def append(self, *events: Event) -> None:
        """Write events down; when this returns they survive the process."""
        rest = memoryview(b"".join(self._encode(event) + b"\n" for event in events))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def restart(self, *events: Event) -> None:
        """Forget everything but `events`, in one step: a kill leaves the old file or the new one."""
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(b"".join(self._encode(event) + b"\n" for event in events))
        fresh.chmod(0o600)
        fresh.replace(self._path)
        os.close(self._descriptor)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
