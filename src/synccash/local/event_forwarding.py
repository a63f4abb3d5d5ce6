"""Forwards a merchant's events to a server on the developer's machine, signed as webhooks are.

The events are read from the API, so neither the service nor its operator has to reach that machine, and
addresses are not checked: the developer chooses where this program, on the same machine, sends them.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from synccash.client import APIConnectionError, Event
from synccash.payments.webhook import WebhookSecret
from synccash.webhooks.signature import signed_headers

POLL_S = 1.0
"""Pause between two readings of the API that found no event, in seconds."""
PAGE = 100
"""How many events are read at once."""
_TIMEOUT_S = 10.0


class Events(Protocol):
    """The SDK's client, as the forwarder uses it."""

    def events(self, *, after: str | None = None, limit: int | None = None) -> Iterator[Event]: ...


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns redirects into failures, as the delivery of webhooks does."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


# A proxy of the environment would not find a server on this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect).open


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """What the local server answered to an event: an HTTP status, or the reason why there is none."""

    event_id: str
    type: str
    object_id: str
    status: int | None
    error: str | None
    took_ms: int


@dataclass(slots=True)
class EventForwarder:
    """Reads new events and posts each of them once to `url`, in order. A failed post is not repeated.

    `after` is the id of the last event that was read; None starts with the first event that there is.
    """

    events: Events
    url: str
    secret: WebhookSecret
    after: str | None = None
    _clock: Callable[[], float] = field(default=time.monotonic)

    def skip_to_newest(self) -> None:
        """Skip the events that exist now."""
        for event in self.events.events(after=self.after, limit=PAGE):
            self.after = event.id

    def forward_new(self) -> Iterator[Forwarded]:
        """Forward the events since the last one, until the newest. Raises SyncCashError."""
        for event in self.events.events(after=self.after, limit=PAGE):
            forwarded = self._post(event)
            self.after = event.id
            yield forwarded

    def run(self, shown: Callable[[Forwarded], None], interrupted: Callable[[str], None]) -> None:
        """Forward events until interrupted. `interrupted` gets the reason while the API does not answer."""
        while True:
            try:
                for forwarded in self.forward_new():
                    shown(forwarded)
            except APIConnectionError as error:
                interrupted(str(error))
            time.sleep(POLL_S)

    def _post(self, event: Event) -> Forwarded:
        body = json.dumps(event.raw, ensure_ascii=False, separators=(",", ":")).encode()
        headers = signed_headers(event.id, body, (self.secret,), now=datetime.now(UTC))
        request = urllib.request.Request(self.url, body, headers, method="POST")  # noqa: S310 - http(s) only
        began, status, error = self._clock(), None, None
        try:
            with _open(request, timeout=_TIMEOUT_S) as response:
                status = response.status
        except urllib.error.HTTPError as answered:
            with answered:
                status = answered.code
        except (OSError, http.client.HTTPException) as failed:
            error = str(getattr(failed, "reason", None) or failed or type(failed).__name__)
        took_ms = round((self._clock() - began) * 1_000)
        return Forwarded(
            event_id=event.id,
            type=event.type,
            object_id=str(event.raw["data"]["object"]["id"]),
            status=status,
            error=error,
            took_ms=took_ms,
        )


def check_target(url: str) -> str | None:
    """Return why events cannot be forwarded to a URL; None if they can."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    return None if valid else "expected a URL such as http://localhost:3000/webhooks"
