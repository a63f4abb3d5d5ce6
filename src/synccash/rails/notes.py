"""Cleans free text for rails: removes the characters for which a rail refuses a request."""

import re
import unicodedata

_NOTE_MAX = 160
_UNFIT_FOR_NOTES = re.compile(r"[^A-Za-z0-9.,-]+")


def clean_text(text: str, unfit: re.Pattern[str], most: int) -> str:
    """Return at most `most` characters: accents are removed, `unfit` characters become a space."""
    if not text.isascii():
        split = unicodedata.normalize("NFKD", text)
        text = "".join(sign for sign in split if not unicodedata.combining(sign))
    return unfit.sub(" ", text).strip()[:most].rstrip()


def clean_note(text: str) -> str:
    """Write a note as MTN takes it, and Hubtel too: at most 160 of letters, digits, blanks and `.,-`.

    MTN refuses a request that contains an apostrophe.
    """
    return clean_text(text, _UNFIT_FOR_NOTES, _NOTE_MAX)
