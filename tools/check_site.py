"""Checks the built documentation site: `python tools/check_site.py FOLDER`.

Every link within the site leads to a file and an anchor that exist, and no page loads anything from another
host. A link that a reader may follow to another site is not looked up: the check needs no network."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADING: Mapping[str, str] = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
}
"""What a browser fetches by itself."""
_LINK_ONLY = frozenset({"canonical", "prev", "next", "edit"})


@dataclass
class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    anchors: set[str] = field(default_factory=set[str])
    links: list[str] = field(default_factory=list[str])
    loaded: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        wanted = values.get(_LOADING.get(tag, ""))
        if wanted is not None and values.get("rel") not in _LINK_ONLY:
            self.loaded.append(wanted)


def faults(site: Path) -> Iterator[str]:
    """Yield each broken link and each file of another host, with the page that has it."""
    pages = {file: read(file) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        name = file.relative_to(site)
        if name.name == "404.html":  # it is served for any address, so its links are absolute
            continue
        for target in page.loaded:
            if urlsplit(target).netloc:
                yield f"{name} loads {target}"
        for target in (*page.links, *page.loaded):
            if not _leads_somewhere(file, target, pages):
                yield f"{name} links to {target}, which does not exist"


def read(file: Path) -> Page:
    """Return what a page has."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def _leads_somewhere(file: Path, target: str, pages: Mapping[Path, Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return True
    wanted = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if wanted.is_dir():
        wanted /= "index.html"
    anchors = pages[wanted].anchors if wanted in pages else set[str]()
    return wanted.is_file() and (not parts.fragment or unquote(parts.fragment) in anchors)


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1]).resolve()))
    print("\n".join(found), file=sys.stderr)
    sys.exit(f"check_site: {len(found)} faults; correct the Markdown in docs/." if found else 0)
