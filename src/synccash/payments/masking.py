"""Masks mobile numbers and secrets in texts, for logs and for the audit log."""

import re
from collections.abc import Mapping
from typing import Any

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


def masked_value(value: Any) -> Any:
    """Return a value with all its texts masked, also those in mappings and lists; it fits into JSON."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {key: masked_value(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [masked_value(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value if isinstance(value, int | float | None) else masked(str(value))
