"""Writes the sources of the documentation site: `python tools/site_sources.py FOLDER`.

The Markdown in docs/ is read in the repository, too, where it links to README and to files that are no pages.
On the site README is the front page, and a link to a file that is no page is plain text. The script that
draws diagrams comes from the site, too."""

import gzip
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOP_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security-policy.md",
    "CHANGELOG.md": "changelog.md",
}
"""The pages outside docs/, and their places on the site."""
MERMAID = ROOT / "tools" / "mermaid" / "mermaid.tiny.js.gz"
SCRIPT = "javascripts/mermaid.js"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def write(folder: Path) -> None:
    """Write all pages and pictures of the site into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    for source, place in pages():
        text = with_links_of_the_site((ROOT / source).read_text(encoding="utf-8"), source)
        (folder / place).write_text(with_script(text, place), encoding="utf-8")
    script = folder / SCRIPT
    script.parent.mkdir()
    script.write_bytes(gzip.decompress(MERMAID.read_bytes()))


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page's path in the repository and on the site."""
    yield from TOP_PAGES.items()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        source = page.relative_to(ROOT).as_posix()
        yield source, source.removeprefix("docs/")


def with_links_of_the_site(text: str, source: str) -> str:
    """Return the page with links that fit the site; code blocks stay as they are."""
    parts = FENCED.split(text)
    changed = [part if part.startswith("```") else _linked(part, source) for part in parts]
    return "".join(changed)


def with_script(text: str, place: str) -> str:
    """Return the page with the script that draws its diagrams, if it has any.

    Zensical's own script loads Mermaid from another host unless the page has done so before.
    """
    if "```mermaid\n" not in text:
        return text
    path = posixpath.relpath(SCRIPT, posixpath.dirname(place) or ".")
    return f'{text.rstrip()}\n\n<script src="{path}"></script>\n'


def _linked(text: str, source: str) -> str:
    return LINK.sub(lambda found: _link(found[0], found[1], found[2], found[3], source), text)


def _link(whole: str, picture: str, label: str, target: str, source: str) -> str:
    if "://" in target or target.startswith("#"):
        return whole
    path, _, anchor = target.partition("#")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    place = _place(wanted)
    if place is None:
        return label
    relative = posixpath.relpath(place, posixpath.dirname(_place(source) or "") or ".")
    return f"{picture}[{label}]({relative}{'#' if anchor else ''}{anchor})"


def _place(path: str) -> str | None:
    """Return where a file of the repository is on the site; None if it is not there."""
    if path in TOP_PAGES:
        return TOP_PAGES[path]
    if (ROOT / path).is_dir():
        path += "/index.md"
    on_site = path.startswith("docs/") and (ROOT / path).is_file()
    return path.removeprefix("docs/") if on_site else None


if __name__ == "__main__":
    write(Path(sys.argv[1]))
