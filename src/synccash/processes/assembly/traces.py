"""Opens the traces of a process, if the settings ask for them."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from synccash.settings.loader import Settings, SettingsError

if TYPE_CHECKING:
    from synccash.observability.tracing import Tracing


def open_tracing(
    settings: Settings, stack: contextlib.AsyncExitStack, *, role: str, instance: str
) -> "Tracing | None":
    """Return the traces of a process; None when `traces_url` is not set. `stack` closes them at its end.

    Raises SettingsError when OpenTelemetry is not installed.
    """
    if settings.traces_url is None:
        return None
    try:
        from synccash.observability.tracing import Tracing
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"traces_url is set, but {error.name} is not installed. Run: pip install 'synccash[server,otel]'"
        ) from error
    url = settings.traces_url.reveal()
    tracing = Tracing(url, role=role, instance=instance, share=settings.traces_share)
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    return tracing
