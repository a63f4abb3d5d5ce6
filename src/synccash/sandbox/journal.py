"""A journal of the events that must survive a kill -9. Events are written before the response is sent."""

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
    """The callback for an ended request is about to be sent; it is not sent again after a restart."""

    reference: str


class Requested(msgspec.Struct, tag="requested", frozen=True):
    """A money request reached the rail, whatever its result."""


class FaultsSet(msgspec.Struct, tag="faults", frozen=True):
    """The standing faults were changed."""

    faults: Faults


class ScriptSet(msgspec.Struct, tag="script", frozen=True):
    """The script was set, or one of its steps was used."""

    script: Script


class Learned(msgspec.Struct, tag="learned", frozen=True):
    """A fact that only the rail's own wire format uses: a credential, a token, a setting."""

    fact: dict[str, Any]


class FaultOccurred(msgspec.Struct, tag="fault_occurred", frozen=True):
    """A fault changed a response, a callback or the book for this order."""

    name: str
    reference: str


class PendingSeen(msgspec.Struct, tag="pending_seen", frozen=True):
    """A status response has reported the order as pending."""

    reference: str


Event = (
    Accepted | Ended | CalledBack | Requested | FaultsSet | ScriptSet | Learned | FaultOccurred | PendingSeen
)


class JournalError(Exception):
    """The journal cannot be read; the message has the file name and the remedy."""


class Journal:
    """An append-only file of events, one JSON line each.

    Each append is an unbuffered write, so the events survive a kill of the process. There is no fsync, so
    they may be lost in a crash of the machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def events(self) -> list[Event]:
        """Return the events written so far. An incomplete last line, left by a kill, is removed.

        Raises:
            JournalError: if a complete line cannot be read: the file was edited, or is of another version.
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
        """Append events. When this returns, they survive a kill of the process."""
        rest = memoryview(b"".join(self._encode(event) + b"\n" for event in events))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def restart(self, *events: Event) -> None:
        """Replace the content by `events` atomically: a kill leaves the old file or the new one."""
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(b"".join(self._encode(event) + b"\n" for event in events))
        fresh.chmod(0o600)
        fresh.replace(self._path)
        os.close(self._descriptor)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
