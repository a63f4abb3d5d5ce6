"""Writes logs as JSON lines, and masks mobile numbers and secrets that were logged by mistake."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_NUMBER = re.compile(r"(?<![\w-])(\+?233|0)([25]\d)\d{4}(\d{3})(?![\w-])")
_SECRET = re.compile(r"\b(sk_[a-z]+_|whsec_)[\w+/=-]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]+")
_CREDENTIALS = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_CALLBACK = re.compile(r"(/callbacks/[\w-]+/)[\w-]+")


def masked(text: str) -> str:
    """Return the text without mobile numbers, API keys, webhook secrets, tokens and passwords in URLs."""
    text = _NUMBER.sub(r"\1\2****\3", text)
    text = _SECRET.sub(r"\1***", text)
    text = _BEARER.sub(r"\1 ***", text)
    text = _CALLBACK.sub(r"\1***", text)
    return _CREDENTIALS.sub(r"\1:***@", text)


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {key: _mask(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_mask(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value if isinstance(value, int | float | None) else masked(str(value))


def mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Mask all values of a log event. This must be the last processor before the line is rendered."""
    return {key: _mask(value) for key, value in event.items()}


def add_toolkit_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add the fields of the log records of the toolkit and the middleware to the event."""
    event.update(getattr(event.get("_record"), "resilience", {}))
    return event


def configure_logging(level: str) -> None:
    """Write the logs of this process, the libraries' too, as JSON lines to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    finish: list[Any] = [structlog.processors.format_exc_info, mask, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, add_toolkit_fields],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("synccash.resilience").setLevel(number)
