"""Refuses builds of Python without the global interpreter lock, on which the counts of the toolkit rely."""

import sys
from collections.abc import Callable
from typing import cast


def require_gil() -> None:
    """Raise RuntimeError if threads of this interpreter run at the same time."""
    enabled = cast(Callable[[], bool] | None, getattr(sys, "_is_gil_enabled", None))
    if enabled is not None and not enabled():
        raise RuntimeError(
            "synccash.resilience needs the GIL: its counts would not be exact without it. "
            "Run Python with -X gil=1, or use a build that is not free-threaded"
        )
