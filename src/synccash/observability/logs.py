"""Writes logs as JSON lines, and masks mobile numbers and secrets that were logged by mistake."""

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from synccash.payments.masking import masked_value


def mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Mask all values of a log event. This must be the last processor before `render`."""
    return {key: masked_value(value) for key, value in event.items()}


_encode = json.JSONEncoder().encode
"""Encodes what `mask` returns, which has only types of JSON; `json.dumps` builds an encoder for each call."""


def render(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
    """Return a masked event as one line. This must be the last processor."""
    return _encode(event)


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
    finish: list[Any] = [structlog.processors.format_exc_info, mask, render]
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
