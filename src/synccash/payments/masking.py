"""Masks mobile numbers and secrets in texts, for logs and for the audit log."""

import re
from collections.abc import Mapping
from typing import Any

_NINE_DIGITS = re.compile(r"\d{9}")
_SPACE = re.compile(r"\s")
_NUMBER = re.compile(r"(?<![\w-])(\+?233|0)([25]\d)\d{4}(\d{3})(?![\w-])")
_SECRET = re.compile(r"\b(sk_[a-z]+_|whsec_)[\w+/=-]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]+")
_CREDENTIALS = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_CALLBACK = re.compile(r"(/callbacks/[\w-]+/)[\w-]+")


def masked(text: str) -> str:
    """Return the text without mobile numbers, API keys, webhook secrets, tokens and passwords in URLs.

    Most texts have nothing to mask: what a pattern needs is looked for first, in a tenth of its time.
    """
    if _NINE_DIGITS.search(text):
        text = _NUMBER.sub(r"\1\2****\3", text)
    if "sk_" in text or "whsec_" in text:
        text = _SECRET.sub(r"\1***", text)
    if _SPACE.search(text):
        text = _BEARER.sub(r"\1 ***", text)
    if "/callbacks/" in text:
        text = _CALLBACK.sub(r"\1***", text)
    return _CREDENTIALS.sub(r"\1:***@", text) if "://" in text else text


def masked_value(value: Any) -> Any:
    """Return a value with all its texts masked, also those in mappings and lists; it fits into JSON."""
    if isinstance(value, str):
        return masked(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {key: masked_value(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [masked_value(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return masked(str(value))
