"""Makes a foreign error's text fit to be kept: short, and without numbers or tokens that name somebody."""

import re

_LONGEST = 200
_TELLING = re.compile(r"\+?\d[\d -]{5,}\d|\b(?=\w*\d)[\w-]{20,}|[\w.+-]+@[\w-]+\.[\w.]+|(?<=://)[^/\s@]+@")


def masked(text: str) -> str:
    """Return the text with phone numbers, long tokens and addresses of people as `…`."""
    return _TELLING.sub("…", text[: 2 * _LONGEST])[:_LONGEST]
