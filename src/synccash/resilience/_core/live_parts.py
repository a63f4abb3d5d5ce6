"""What of this process remembers something between calls, so that tests can give it a new state."""

from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any
from weakref import WeakSet

_live: WeakSet[object] = WeakSet()
_lock = RLock()


def track(part: object) -> None:
    """Note a part that is new; it is forgotten with its last reference."""
    with _lock:
        _live.add(part)


def tracked() -> Sequence[object]:
    """Return all parts that are in use."""
    with _lock:
        return list(_live)


def adopt_state(part: object, other: object, names: Iterable[str], lock: Any) -> Callable[[], None]:
    """Give `part` the attributes `names` of `other` until the returned function is called.

    `lock` protects them.
    """

    def exchange(values: dict[str, Any]) -> dict[str, Any]:
        with lock:
            before = {name: getattr(part, name) for name in values}
            for name, value in values.items():
                setattr(part, name, value)
        return before

    former = exchange({name: getattr(other, name) for name in names})

    def restore() -> None:
        exchange(former)

    return restore
