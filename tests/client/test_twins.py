import inspect

from synccash.client.aio import AsyncSyncCash
from synccash.client.sync import SyncCash

# Closing and iterating are spelled as each world spells them.
_RENAMED = {"aclose": "close"}


def _methods(of: type) -> dict[str, list[tuple[str, object, object, object]]]:
    return {
        _RENAMED.get(name, name): [
            (each.name, each.kind, each.default, each.annotation)
            for each in inspect.signature(method).parameters.values()
        ]
        for name, method in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_offer_the_same_calls_with_the_same_parameters() -> None:
    assert _methods(SyncCash) == _methods(AsyncSyncCash)
