"""`synccash listen`: forwards a merchant's events to a server on this machine, for development."""

import contextlib
import json as json_module
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from synccash.commands.terminal import settings

if TYPE_CHECKING:
    from synccash.local.event_forwarding import Forwarded


def listen(
    *,
    forward_to: str,
    api_key: Annotated[str | None, Parameter(help="A merchant's key; by default that of `up` here.")] = None,
    url: Annotated[str | None, Parameter(help="URL of the API; by default that of the settings.")] = None,
    after: Annotated[str | None, Parameter(help="Start after this event, not with the next one.")] = None,
    secret: Annotated[str | None, Parameter(help="Sign with this secret, not with a new one.")] = None,
    json: bool = False,
) -> int:
    """Forward new events to a URL on this machine, signed as webhooks are, until Ctrl-C.

    Reads the events from the API with the merchant's key, so no endpoint is created and no address is
    refused. Posts each event once: a failed post is shown and not repeated.

    Parameters
    ----------
    forward_to
        For example http://localhost:3000/webhooks.
    json
        Print one JSON object a line: first the secret, then an object for each event.
    """
    from synccash.administration.errors import AdministrationError
    from synccash.administration.local_keys import local_api_url, local_key
    from synccash.client import SyncCash, SyncCashError
    from synccash.local.event_forwarding import EventForwarder, check_target
    from synccash.payments.webhook import WebhookSecret
    from synccash.webhooks.signature import is_secret, new_secret

    if (problem := check_target(forward_to)) is not None:
        raise AdministrationError(f"--forward-to: {problem}")
    if secret is not None and not is_secret(secret):
        raise AdministrationError(
            "--secret: expected whsec_ and base64. To make one: echo whsec_$(openssl rand -base64 24)"
        )
    address = url or local_api_url(settings())
    key = api_key or local_key("test", address, settings())
    if key is None:
        raise AdministrationError("No API key: give a merchant's key with --api-key")
    signing = WebhookSecret(secret or new_secret())

    def print_event(forwarded: "Forwarded") -> None:
        print(json_module.dumps(asdict(forwarded)) if json else _line(forwarded), flush=True)

    def print_interruption(reason: str) -> None:
        text = f"Cannot reach the API at {address}: {reason}. Trying again."
        print(json_module.dumps({"error": {"message": text}}) if json else text, flush=True)

    try:
        with contextlib.suppress(KeyboardInterrupt), SyncCash(address, key) as cash:
            forwarder = EventForwarder(cash, forward_to, signing, after)
            if after is None:
                forwarder.skip_to_newest()
            if json:
                print(json_module.dumps({"secret": signing.text, "forward_to": forward_to}), flush=True)
            else:
                print(f"secret {signing.text}\nForwarding events to {forward_to}. Ctrl-C stops.", flush=True)
            forwarder.run(print_event, print_interruption)
    except (SyncCashError, ValueError) as error:
        raise AdministrationError(f"{address}: {error}") from error
    return 0


def _line(forwarded: "Forwarded") -> str:
    answer = f"HTTP {forwarded.status}" if forwarded.status else f"no answer: {forwarded.error}"
    now = datetime.now().astimezone()
    ids = f"{forwarded.object_id}  {forwarded.event_id}"
    return f"{now:%H:%M:%S}  {forwarded.type}  {ids}  {answer}  {forwarded.took_ms} ms"
