"""The documentation site in a real browser that reaches no other host: its diagrams are drawn."""

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browser.chromium import opened_tab

ROOT = Path(__file__).parents[2]
ZENSICAL = Path(sys.executable).with_name("zensical")
pytestmark = pytest.mark.skipif(
    not ZENSICAL.exists(), reason="zensical is not installed: `make docs` installs it"
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    """The address of the built site, on a server that serves files and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    sources = [sys.executable, str(ROOT / "tools" / "site_sources.py"), "build/site-sources"]
    for command in (sources, [str(ZENSICAL), "build", "--clean", "--strict"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    handler = functools.partial(Quiet, directory=str(folder / "build" / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_diagrams_are_drawn_without_another_host(site, tmp_path):
    async with opened_tab(tmp_path / "profile") as tab:
        for page, diagrams in (("states.html", 4), ("architecture.html", 2)):
            await tab.open(f"{site}/{page}")
            await tab.until(f"document.querySelectorAll('div.mermaid').length === {diagrams}")
            loaded = await tab.run("performance.getEntriesByType('resource').map(one => one.name)")
            assert [name for name in loaded if not name.startswith(site)] == []
        assert tab.problems == []
