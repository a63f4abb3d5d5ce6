"""Reads what a stopped release left behind, and moves it to the present: its end is a moment ago."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

FOLDER = Path(__file__).parent / "release_5b9d1e5"
_CALLBACKS = "http://synccash.example"
_NOBODY = "http://127.0.0.1:9"
_TIMES = ("accepted_at", "visible_at", "ends_at", "late_success_at", "ended_at", "at")
_COLUMNS = """
SELECT table_name, string_agg(format('%1$I = %1$I + $1', column_name), ', ') AS changes
FROM information_schema.columns
WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY table_name
"""


class Asked(msgspec.Struct, frozen=True):
    """A request of a merchant, and the answer that the release gave, if it gave one."""

    kind: str
    amount: int
    id: str
    number: str = ""
    rail: str | None = None
    payment: str = ""
    status: int | None = None
    body_sha256: str = ""


class _Told(msgspec.Struct, frozen=True):
    made_at: datetime
    asked: dict[str, Asked]


class Sent(msgspec.Struct, frozen=True):
    """A statement of the release, by its number, with its arguments and how many rows came back."""

    of: int
    arguments: list[Any]
    rows: int


class Statements(msgspec.Struct, frozen=True):
    """What the release sent for one payment, one refund and one payout, in this order."""

    statements: list[str]
    sent: list[Sent]


@dataclass(frozen=True)
class Stored:
    """`asked`: by the merchant's own reference. `since`: how long ago the release was stopped."""

    asked: Mapping[str, Asked]
    since: timedelta

    @classmethod
    def read(cls) -> "Stored":
        told = msgspec.json.decode((FOLDER / "told.json").read_bytes(), type=_Told)
        return cls(told.asked, datetime.now(UTC) - told.made_at)

    def write_journals(self, folder: Path, lost: str | None = None) -> None:
        """Give a sandbox the orders that its rails had accepted, but for the one called `lost` there. The
        callbacks of these find nobody."""
        folder.mkdir(exist_ok=True)
        for source in FOLDER.glob("*.jsonl"):
            lines = source.read_text().replace(_CALLBACKS, _NOBODY).splitlines()
            kept = (line for line in lines if lost is None or f'"{lost}"' not in line)
            events = (self._moved(msgspec.json.decode(line)) for line in kept)
            (folder / source.name).write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in events))

    def _moved(self, event: dict[str, Any]) -> dict[str, Any]:
        for found in (event, event.get("order", {})):
            for name in _TIMES:
                if found.get(name):
                    found[name] += self.since.total_seconds()
        return event

    async def restore(self, url: str, addresses: Mapping[str, str]) -> None:
        """Load the dump as an operator would, with `addresses` in place of the names in it."""
        text = (FOLDER / "database.sql").read_text()
        for name, address in addresses.items():
            text = text.replace(f"http://{name}.example", address)
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(text)
            await connection.execute("SET search_path TO public")
            for row in await connection.fetch(_COLUMNS):
                await connection.execute(f"UPDATE {row['table_name']} SET {row['changes']}", self.since)
            await connection.execute("UPDATE events SET xact = '0'")
        finally:
            await connection.close()


def statements() -> Statements:
    """The statements of the release."""
    return msgspec.json.decode((FOLDER / "statements.json").read_bytes(), type=Statements)
