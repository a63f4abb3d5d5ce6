"""The sources of the documentation site, and the site that Zensical makes of them."""

import gzip
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from check_site import faults
from site_sources import MERMAID, ROOT, pages, with_links_of_the_site, with_script, write

CONFIGURATION = ROOT / "zensical.toml"
ZENSICAL = Path(sys.executable).with_name("zensical")


@pytest.mark.parametrize(
    ("source", "link", "on_the_site"),
    [
        ("README.md", "[States](docs/states.md)", "[States](states.md)"),
        ("README.md", "[toolkit](docs/toolkit/)", "[toolkit](toolkit/index.md)"),
        ("README.md", "![now](docs/images/console.png)", "![now](images/console.png)"),
        ("docs/operating.md", "[limits](../README.md#limits)", "[limits](index.md#limits)"),
        ("docs/toolkit/retry.md", "[README](../../README.md)", "[README](../index.md)"),
        ("docs/toolkit/retry.md", "[rate](rate.md#options)", "[rate](rate.md#options)"),
        ("README.md", "[examples](examples/)", "examples"),
        ("README.md", "[here](#limits)", "[here](#limits)"),
        ("README.md", "[RFC](https://www.rfc-editor.org)", "[RFC](https://www.rfc-editor.org)"),
        ("README.md", "```\n[a](docs/states.md)\n```", "```\n[a](docs/states.md)\n```"),
    ],
)
def test_a_link_leads_to_the_page_on_the_site(source: str, link: str, on_the_site: str):
    assert with_links_of_the_site(link, source) == on_the_site


def test_a_page_with_a_diagram_loads_the_script_of_the_site_and_no_other_page_does():
    diagram = "# A\n```mermaid\ngraph\n```\n"
    assert with_script(diagram, "states.md") == diagram + '\n<script src="javascripts/mermaid.js"></script>\n'
    assert '"../javascripts/mermaid.js"' in with_script(diagram, "toolkit/retry.md")
    assert with_script("# A\n", "states.md") == "# A\n"


def test_the_script_is_the_one_that_its_readme_names():
    digest = sha256(gzip.decompress(MERMAID.read_bytes())).hexdigest()
    assert f"`{digest}`" in (MERMAID.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other.html#there">', None),
        ('<a href="#here"><p id="here">', None),
        ('<a href="https://example.com/x">', None),
        ('<a href="missing.html">', "index.html links to missing.html, which does not exist"),
        ('<a href="other.html#gone">', "index.html links to other.html#gone, which does not exist"),
        ('<script src="https://cdn.example/a.js">', "index.html loads https://cdn.example/a.js"),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', "index.html loads //cdn.example/a.css"),
    ],
)
def test_the_check_of_the_site_finds_broken_links_and_files_of_other_hosts(
    tmp_path: Path, body: str, fault: str | None
):
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "other.html").write_text('<h2 id="there">There</h2>')
    assert list(faults(tmp_path)) == ([] if fault is None else [fault])


def test_the_navigation_has_only_pages_of_the_site_and_all_at_the_top_of_docs():
    navigated = set(leaves(tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))["project"]["nav"]))
    places = {place for _, place in pages()}
    assert navigated - places == set()
    at_the_top = {place for source, place in pages() if re.fullmatch(r"docs/(how-to/)?[^/]+", source)}
    assert at_the_top - navigated == set()


def leaves(node: Any) -> Iterator[str]:
    """Yield each page that a navigation names."""
    match node:
        case str():
            yield node
        case dict():
            for value in node.values():
                yield from leaves(value)
        case _:
            for one in node:
                yield from leaves(one)


@pytest.mark.skipif(not ZENSICAL.exists(), reason="zensical is not installed: `make docs` installs it")
def test_zensical_builds_the_site_and_finds_no_broken_link(tmp_path: Path):
    shutil.copy(CONFIGURATION, tmp_path)
    write(tmp_path / "build" / "site-sources")
    done = subprocess.run(
        [ZENSICAL, "build", "--clean", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build" / "site"
    for _, place in pages():
        built = site / Path(place).with_suffix(".html")
        assert built.is_file(), place
    assert list(faults(site)) == []
