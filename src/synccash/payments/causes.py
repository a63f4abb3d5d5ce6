"""Causes of failed calls to a rail: a closed list of codes, each with a sentence and what to do about it.

The same words appear in breakers, health, logs, timelines and commands, so that one search finds all of them.
A detail comes from a closed form (an HTTP status, a code of the rail): a cause holds no text that a rail sent
for people, no phone number and no secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from synccash.resilience.verdict import FailureCause

_DETAIL = re.compile(r"[A-Za-z0-9_. -]{1,64}", re.ASCII)
_LONG_NUMBER = re.compile(r"[0-9]{7,}")


class CauseCode(StrEnum):
    """The closed list of codes that a program can switch on."""

    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect_timeout"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    TLS = "tls"
    BAD_URL = "bad_url"
    REDIRECTED = "redirected"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    OTHER_REFERENCE = "other_reference"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    CREDENTIALS_REFUSED = "credentials_refused"
    ACCOUNT_REFUSED = "account_refused"
    REJECTED = "rejected"
    CALLBACKS_MISSING = "callbacks_missing"
    CONNECTOR_ERROR = "connector_error"
    BREAKER_OPEN = "circuit_open"
    TOO_LATE = "too_late"
    NOT_ALLOWED_HERE = "refused_locally"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class _Meaning:
    sentence: str
    action: str


_WAIT = "New orders go to other rails or wait, and the service tries again by itself."
_STATUS_PAGE = "Check the provider's status page or call its support."
_CONNECTOR = "Report it with the log line: the connector has to learn this answer."
_MEANINGS: Mapping[CauseCode, _Meaning] = {
    CauseCode.UNREACHABLE: _Meaning(
        "The rail accepts no connection, or its name does not resolve.",
        f"The provider is down, or this host cannot get to it (network, DNS, firewall). "
        f"{_STATUS_PAGE} {_WAIT}",
    ),
    CauseCode.CONNECT_TIMEOUT: _Meaning(
        "No connection to the rail came about in time.",
        f"The provider is down, or a firewall drops the packets. {_STATUS_PAGE} {_WAIT}",
    ),
    CauseCode.TIMEOUT: _Meaning(
        "The rail hangs: it takes the connection and does not answer in time.",
        f"{_STATUS_PAGE} {_WAIT} Sent orders have an unknown outcome until an inquiry answers: do not create "
        "them again by hand.",
    ),
    CauseCode.CONNECTION_LOST: _Meaning(
        "The rail broke the connection before its answer.",
        f"{_STATUS_PAGE} {_WAIT} Sent orders have an unknown outcome until an inquiry answers.",
    ),
    CauseCode.TLS: _Meaning(
        "The TLS handshake with the rail failed.",
        "Check the rail's certificate, this host's clock, and a proxy in between that replaces certificates.",
    ),
    CauseCode.BAD_URL: _Meaning(
        "The rail's base URL is not a URL.",
        "Correct the setting of the rail's URL: `synccash config show` lists it.",
    ),
    CauseCode.REDIRECTED: _Meaning(
        "The rail answered with a redirect, which is not followed.",
        "Check the setting of the rail's URL: the provider may have moved its API.",
    ),
    CauseCode.UNREADABLE: _Meaning(
        "The rail's answer cannot be read or understood.",
        f"{_STATUS_PAGE} If it works, a proxy may have answered in its place, or its API has changed. "
        f"{_CONNECTOR}",
    ),
    CauseCode.TOO_LARGE: _Meaning("The rail's answer is larger than 1 MiB.", _CONNECTOR),
    CauseCode.OTHER_REFERENCE: _Meaning(
        "The rail answered about another order than the one asked for.",
        "Report it to the provider. The answer was not used, and the service asks again.",
    ),
    CauseCode.SERVER_ERROR: _Meaning(
        "The rail answers with a server error.",
        f"{_STATUS_PAGE} {_WAIT}",
    ),
    CauseCode.UNAVAILABLE: _Meaning(
        "The rail says that it cannot take requests now.",
        f"{_STATUS_PAGE} {_WAIT}",
    ),
    CauseCode.RATE_LIMITED: _Meaning(
        "The rail refuses requests because there are too many.",
        "Ask the provider for a higher limit, or lower the rail's status_per_s setting.",
    ),
    CauseCode.CREDENTIALS_REFUSED: _Meaning(
        "The rail refuses our credentials.",
        "Check the rail's keys, and that they have not expired: `synccash config show`, "
        "`synccash rails list`.",
    ),
    CauseCode.ACCOUNT_REFUSED: _Meaning(
        "The rail refuses our account or its set-up.",
        "Ask the provider what the account may do; check the rail's settings with `synccash config show`.",
    ),
    CauseCode.REJECTED: _Meaning(
        "The rail rejected the request.",
        f"{_CONNECTOR} No money moved for this request.",
    ),
    CauseCode.CALLBACKS_MISSING: _Meaning(
        "The rail's callbacks do not arrive: ends are found by inquiries, later than they happen.",
        "Check that the provider can reach public_url (DNS, certificate, firewall, proxy), and that it has "
        "the right callback address. No money is lost: inquiries go on.",
    ),
    CauseCode.CONNECTOR_ERROR: _Meaning(
        "The connector itself failed.",
        "Report the log event `connector_failed`, which has the traceback.",
    ),
    CauseCode.BREAKER_OPEN: _Meaning(
        "Nothing was sent: the rail's circuit breaker is open.",
        "`synccash breakers` shows why it is open.",
    ),
    CauseCode.TOO_LATE: _Meaning(
        "Nothing was sent: the order expired, or the worker lost its lease, before its turn.",
        "Nothing; look for a slow database or an overloaded host if it happens often.",
    ),
    CauseCode.NOT_ALLOWED_HERE: _Meaning(
        "Nothing was sent: our own settings do not allow it.",
        "See Rail accounts in docs/operating.md, and `synccash rails list`.",
    ),
    CauseCode.CLOSED: _Meaning("Nothing was sent: the process is stopping.", "Nothing."),
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why one call to a rail failed. `detail`: an HTTP status such as "HTTP 500", or a code of the rail's."""

    code: CauseCode
    detail: str | None = None

    @property
    def message(self) -> str:
        """One sentence for people."""
        sentence = _MEANINGS[self.code].sentence
        return sentence if self.detail is None else f"{sentence.removesuffix('.')} ({self.detail})."

    @property
    def action(self) -> str:
        """What to do about it."""
        return _MEANINGS[self.code].action

    @property
    def for_breaker(self) -> FailureCause:
        """The cause in the toolkit's form, as a breaker records it."""
        return FailureCause(self.code.value, self.message.removesuffix("."))


def cause_with(code: CauseCode, detail: str | None) -> Cause:
    """Return a cause; a detail that could hold anything else than a short code is left out."""
    fits = detail is not None and _DETAIL.fullmatch(detail) and not _LONG_NUMBER.search(detail)
    return Cause(code, detail if fits else None)


def action_for(code: str) -> str | None:
    """Return what to do about a cause, by its code; None for a text that is no code of the list."""
    try:
        return _MEANINGS[CauseCode(code)].action
    except ValueError:
        return None
