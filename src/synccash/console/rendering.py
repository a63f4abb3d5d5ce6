"""Renders templates: the Jinja environment, its filters, and the static files with their versions."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from synccash.administration.explanations import explain_attempt, explain_delivery, explain_status
from synccash.payments.masking import masked, masked_value
from synccash.payments.payer import Msisdn

_HERE = Path(__file__).parent
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain", ".svg": "image/svg+xml"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that browsers may keep: its address has the digest of its content."""

    content: bytes
    media_type: str
    version: str


def load_static_files() -> Mapping[str, StaticFile]:
    """Return the static files by their names."""
    folder = _HERE / "static"
    return {
        path.relative_to(folder).as_posix(): _static_file(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MEDIA_TYPES
    }


def _static_file(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, _MEDIA_TYPES[path.suffix], sha256(content).hexdigest()[:12])


def build_environment(static_files: Mapping[str, StaticFile]) -> Environment:
    """Return the environment of all templates. Values are escaped, and an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "money": money,
        "number": masked_number,
        "when": when,
        "words": words,
        "share": share,
        "seconds": seconds,
        "masked": masked,
        "pretty": pretty,
        "countdown": countdown,
        "reason": breaker_reason,
        "why": explain_status,
        "attempt_why": explain_attempt,
        "delivery_why": explain_delivery,
        "seconds_until": seconds_until,
        "scope": scope_words,
    }
    environment.filters.update(filters)
    environment.globals["static"] = lambda name: f"/console/static/{name}?v={static_files[name].version}"  # pyright: ignore[reportArgumentType]
    environment.globals["link"] = link  # pyright: ignore[reportArgumentType]
    return environment


def money(pesewas: int | None, currency: str = "GHS") -> str:
    """Write an amount: 123450 is "GHS 1,234.50"."""
    if pesewas is None:
        return "–"
    sign = "−" if pesewas < 0 else ""
    return f"{currency} {sign}{abs(pesewas) // 100:,}.{abs(pesewas) % 100:02d}"


def masked_number(digits: str | None) -> str:
    """Write a mobile number with its middle masked."""
    if not digits:
        return "–"
    try:
        return str(Msisdn.parse("+" + digits.removeprefix("+")))
    except ValueError:
        return masked(digits)


def when(at: str | datetime | float | None) -> Markup:
    """Write a time in UTC in a `time` element; the page's script shows it in local time."""
    if at is None or at == "":
        return Markup("–")
    moment = _moment(at)
    if moment is None:
        return escape(str(at))
    shown = moment.astimezone(UTC)
    exact = shown.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = shown.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(exact, exact[:-1], text)


def _moment(at: str | datetime | float) -> datetime | None:
    if isinstance(at, datetime):
        return at
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, UTC)
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None


def countdown(seconds_left: float | None) -> Markup:
    """Write the seconds until something happens; the page's script counts them down."""
    if seconds_left is None:
        return Markup("–")
    left = max(0, round(seconds_left))
    return Markup('<span data-countdown="{}">{} s</span>').format(left, left)


def seconds_until(at: str) -> float:
    """Return the seconds from now until a time."""
    return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()


_SCOPES = {"user": "wallet or customer", "ip": "address", "api_key": "API key", "global": "all requests"}


def scope_words(scope: str) -> str:
    """Write what a limit counts by."""
    return _SCOPES.get(scope, words(scope))


def words(code: object) -> str:
    """Write a code of the API in words: `under_review` is "under review"."""
    return "–" if code in (None, "") else str(code).replace("_", " ")


def breaker_reason(text: str | None) -> str:
    """Write why a breaker is in its state."""
    return masked(text) if text else "–"


def share(value: float | None) -> str:
    """Write a share between 0 and 1 in per cent."""
    return "–" if value is None else f"{value * 100:.1f}\u00a0%"


def seconds(value: float | None) -> str:
    """Write a duration."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7_200:
        return f"{value / 60:.0f} min"
    return f"{value / 3_600:.0f} h" if value < 172_800 else f"{value / 86_400:.0f} d"


def pretty(value: Any) -> str:
    """Write a JSON value over several lines, without numbers and secrets."""
    return json.dumps(masked_value(value), indent=2, ensure_ascii=False, sort_keys=True)


def link(path: str, **query: Any) -> str:
    """Return an address with the parameters that have a value."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def csv_line(cells: Sequence[Any]) -> str:
    """Return one line of CSV. A cell that a spreadsheet would read as a formula begins with an apostrophe."""
    text = io.StringIO()
    csv.writer(text).writerow([_cell(cell) for cell in cells])
    return text.getvalue()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()
