"""Two clients, one description: they cannot drift apart."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import synccash.client
from synccash.client import calls
from synccash.client.aio import AsyncSyncCash
from synccash.client.sync import SyncCash

# Closing and iterating are spelled as each world spells them.
_RENAMED = {"aclose": "close"}
SOURCES = Path(synccash.client.__file__).parents[2]
HERE = Path(__file__).parent


def _methods(of: type) -> dict[str, tuple[object, ...]]:
    return {
        _RENAMED.get(name, name): (
            str(inspect.signature(method)).replace("AsyncIterator", "Iterator"),
            inspect.getdoc(method),
        )
        for name, method in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_offer_the_same_calls_with_the_same_parameters_results_and_words() -> None:
    assert _methods(SyncCash) == _methods(AsyncSyncCash)
    ours = set(inspect.signature(SyncCash).parameters)
    assert ours == set(inspect.signature(AsyncSyncCash).parameters)


def test_every_request_that_is_described_is_offered() -> None:
    described = {
        name
        for name, function in inspect.getmembers(calls, inspect.isfunction)
        if function.__module__ == calls.__name__ and not name.startswith("_")
    }
    assert described - _methods(SyncCash).keys() == {"again"}, "which is what wait() asks"


def test_a_type_checker_infers_what_a_caller_expects(tmp_path: Path) -> None:
    settings = tmp_path / "pyrightconfig.json"
    uses = str(HERE / "typed_uses.py")
    settings.write_text(
        json.dumps({"include": [uses], "extraPaths": [str(SOURCES)], "typeCheckingMode": "strict"})
    )
    told = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(settings)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(told.stdout)["generalDiagnostics"] == []
