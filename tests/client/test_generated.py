"""The client for ordinary programs is generated from the one for asyncio programs."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / "tools" / "sync_client.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sync_client", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_synchronous_client_is_current(generator: ModuleType):
    expected = generator.generated(generator.SOURCE.read_text(encoding="utf-8"))
    assert generator.TARGET.read_text(encoding="utf-8") == expected, "run make generate"


def test_the_check_fails_until_the_client_is_generated_again(generator: ModuleType, tmp_path: Path):
    program = tmp_path / "tools" / PROGRAM.name
    client = tmp_path / generator.CLIENT.relative_to(REPOSITORY)
    for folder in (program.parent, client):
        folder.mkdir(parents=True)
    for file in (PROGRAM, REPOSITORY / "pyproject.toml", generator.SOURCE, generator.TARGET):
        (tmp_path / file.relative_to(REPOSITORY)).write_bytes(file.read_bytes())

    def run(*options: str) -> int:
        return subprocess.run([sys.executable, program, *options], check=False).returncode

    assert run("--check") == 0
    source = client / "aio.py"
    source.write_text(source.read_text(encoding="utf-8").replace("float = 15.0", "float = 9.0"), "utf-8")
    assert run("--check") == 1
    assert "float = 9.0" not in (client / "sync.py").read_text(encoding="utf-8")
    assert run() == 0
    assert "float = 9.0" in (client / "sync.py").read_text(encoding="utf-8")
    assert run("--check") == 0


def test_a_new_call_is_translated(generator: ModuleType):
    source = generator.SOURCE.read_text(encoding="utf-8")
    new = '\n    async def ping(self) -> None:\n        """Ask."""\n        await self._run(calls.health())\n'
    assert (
        '    def ping(self) -> None:\n        """Ask."""\n        self._run(calls.health())\n'
        in generator.generated(source + new)
    )


def test_what_has_no_counterpart_is_named(generator: ModuleType):
    source = generator.SOURCE.read_text(encoding="utf-8")
    with pytest.raises(generator.GenerationError, match="'async' is left over"):
        generator.generated(source + "\n    lock = asyncio.Lock()\n")
    with pytest.raises(generator.GenerationError, match="matches nothing"):
        generator.generated(source.replace("asyncio.sleep", "something"))
