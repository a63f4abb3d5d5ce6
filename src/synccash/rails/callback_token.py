"""The token of a rail that takes one callback address for the whole account."""

import re

from synccash.settings.secret import Secret

_TOKEN = re.compile(r"[A-Za-z0-9_-]{24,128}", re.ASCII)
EXPECTED = "must be 24 to 128 letters, digits, - or _, such as `openssl rand -hex 24` makes"


def is_account_token(ours: Secret | None, given: str) -> bool:
    """True when a callback came to the account's own address. Compares in constant time."""
    return ours is not None and ours == Secret(given)


def is_fit(token: Secret) -> bool:
    """Return True when a token is valid in a URL and too long to be guessed."""
    return _TOKEN.fullmatch(token.reveal()) is not None
