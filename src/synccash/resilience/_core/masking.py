"""Shortens error texts and removes phone numbers, tokens and e-mail addresses, so that they may be stored."""

import re

_MAX_LENGTH = 200
_IDENTIFIER = re.compile(r"\+?\d[\d -]{5,}\d|\b(?=\w*\d)[\w-]{20,}|[\w.+-]+@[\w-]+\.[\w.]+|(?<=://)[^/\s@]+@")


def mask_identifiers(text: str) -> str:
    """Return at most 200 characters of the text, with each phone number, token and e-mail address as `…`."""
    return _IDENTIFIER.sub("…", text[: 2 * _MAX_LENGTH])[:_MAX_LENGTH]
