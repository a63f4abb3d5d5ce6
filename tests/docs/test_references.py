"""The documents name only what exists: decisions, linked pages, paths and names."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "synccash"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "bench" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
CURRENT_PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that describe the present: a changelog may name what is gone."""
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PATH = re.compile(r"[\w.\-<>*]+(/[\w.\-<>*]+)*/?")
FILE = re.compile(r".*\.(?:py|sql|lua|md|toml|txt)|.*/")
NAME = re.compile(r"(?:[A-Z][a-z]+){2,}(?:\.\w+)?|_?[A-Za-z]+(?:_[A-Za-z]+)+")
"""A class, with a member or without one, or a name in snake case."""
LIST = r"((?:`[^`\n]+`(?:, and |, or |, | and | or | of )?)+)"
"""One code span, or several in a list."""
NAME_IN_FILE = re.compile(LIST + r" in `([^`\n]+)`")
FILE_HAS_NAME = re.compile(r"`([^`\n]+)`: (?:the )?" + LIST)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
STARTS = frozenset(
    entry.name for top in (ROOT, SOURCE) for entry in top.iterdir() if entry.is_dir() and entry.name[0] != "."
)
"""The folders at the top of the repository and of the package: a path starts with one of them."""
SUFFIXES = (".py", ".sql", ".lua")
RAILS = [folder.name for folder in (SOURCE / "rails").iterdir() if folder.is_dir() and folder.name[0] != "_"]
WRITTEN_ELSEWHERE = frozenset({"synccash.toml", "out/"})
"""What an operator or a benchmark writes."""
NOT_IN_SOURCES = frozenset(
    {
        "CircuitBreakerError",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "cannot_collect",
        "cannot_payout",
        "hot_standby_feedback",
        "ignore_startup_parameters",
        "max_prepared_statements",
        "max_slot_wal_keep_size",
        "pg_restore",
        "pg_upgrade",
        "plan_cache_mode",
        "query_wait_timeout",
        "server_lifetime",
        "statement_timeout",
        "wal_level",
    }
)
"""Names of other programs, and names that the code composes."""


def identifier(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a web page of this Markdown has, by GitHub's rule."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(text))
    return {title.replace(" ", "-") for title in plain}


def code(page: Path) -> Iterator[str]:
    """Yield each inline code span outside fenced blocks."""
    yield from CODE.findall(FENCED.sub("", page.read_text(encoding="utf-8")))


def named_paths(page: Path) -> Iterator[str]:
    """Yield each code span that names a path of this repository, or a file without its folder."""
    for span in code(page):
        is_path = FILE.fullmatch(span) or span.split("/", 1)[0] in STARTS
        if ("/" in span or FILE.fullmatch(span)) and is_path and PATH.fullmatch(span):
            yield span


def exists(path: str) -> bool:
    """True when the path exists, or is written by someone else."""
    return path in WRITTEN_ELSEWHERE or any(True for _ in places(path))


def places(path: str) -> Iterator[Path]:
    """Yield what the path stands for: from the top of the repository, or anywhere in the package, the tests,
    the benchmarks or the documents; `<rail>` stands for the name of any rail."""
    if "<rail>" in path:
        for rail in RAILS:
            yield from places(path.replace("<rail>", rail))
        return
    name = path.rstrip("/")
    yield from ROOT.glob(name)
    for top in (SOURCE, ROOT / "tests", ROOT / "bench", ROOT / "docs"):
        yield from top.rglob(name)


def names_and_files(text: str) -> Iterator[tuple[str, str]]:
    """Yield each name with its file, where the text says "`name` in `path`" or "`path`: `name`"."""
    pairs = [(names, path) for names, path in NAME_IN_FILE.findall(text)]
    pairs += [(names, path) for path, names in FILE_HAS_NAME.findall(text)]
    for names, path in pairs:
        if FILE.fullmatch(path) and PATH.fullmatch(path) and path not in WRITTEN_ELSEWHERE:
            yield from ((name, path) for name in CODE.findall(names) if IDENTIFIER.fullmatch(name))


def is_in(name: str, path: str) -> bool:
    """True when one file of the path has the name, and its member if it has one."""
    parts = name.split(".")
    for place in places(path):
        files = [place] if place.is_file() else [file for file in place.rglob("*") if file.suffix in SUFFIXES]
        if any(set(parts) <= set(re.findall(r"\w+", file.read_text(encoding="utf-8"))) for file in files):
            return True
    return False


def test_decisions_are_numbered_without_gaps():
    assert [int(record.name[:4]) for record in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("record", DECISIONS, ids=identifier)
def test_a_decision_has_its_number_context_choice_and_consequence(record: Path):
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    parts = ("**Context.**", "**Choice.**", "**Consequence.**")
    assert [part for part in parts if part not in text] == []


def test_the_architecture_lists_every_decision_by_number_and_title():
    listed = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Decisions\n")[1]
    titles = [record.read_text(encoding="utf-8").split("\n", 1)[0] for record in DECISIONS]
    expected = [
        "| {} | [{}](decisions/{}) |".format(*title.removeprefix("# ").split(". ", 1), record.name)
        for record, title in zip(DECISIONS, titles, strict=True)
    ]
    assert listed.split("|---|---|\n")[1].split("\n\n")[0].strip().split("\n") == expected


def test_the_patterns_find_links_paths_and_names():
    """Else the tests below would compare nothing."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in CURRENT_PAGES)
    assert len(LINK.findall(FENCED.sub("", text))) > 50
    assert sum(1 for page in CURRENT_PAGES for _ in named_paths(page)) > 50
    assert sum(1 for page in CURRENT_PAGES for span in code(page) if NAME.fullmatch(span)) > 200


def test_the_sources_refer_to_decisions_that_exist():
    names = {record.name for record in DECISIONS}
    tops = (ROOT / "src", ROOT / "tests", ROOT / "bench")
    unknown = [
        f"{file.relative_to(ROOT)}: {name}"
        for top in tops
        for file in top.rglob("*.py")
        for name in re.findall(r"decisions/(\d{4}[\w\-]*\.md)", file.read_text(encoding="utf-8"))
        if name not in names
    ]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_links_lead_to_pages_and_headings_that_exist(page: Path):
    broken: list[str] = []
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=identifier)
def test_paths_in_the_documents_exist(page: Path):
    assert [path for path in named_paths(page) if not exists(path)] == []


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=identifier)
def test_names_in_the_documents_exist(page: Path):
    spans = {span for span in code(page) if NAME.fullmatch(span)}
    names = {part for span in spans for part in span.split(".")} - NOT_IN_SOURCES
    # Counters get the suffix `_total` when they are served.
    plain = {name: name.removeprefix("SYNCCASH_").lower().removesuffix("_total") for name in names}
    assert sorted(name for name, word in plain.items() if word not in words()) == []


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=identifier)
def test_names_are_in_the_files_that_the_documents_say(page: Path):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    assert [f"{name} in {path}" for name, path in names_and_files(text) if not is_in(name, path)] == []


def test_a_name_is_looked_for_in_the_file_that_a_sentence_names():
    text = "`a_one`, `B.two` and `c` in `payments/money.py`. 1. `engine/leases.py`: `Held`, the `lease_s`."
    assert list(names_and_files(text)) == [
        ("a_one", "payments/money.py"),
        ("B.two", "payments/money.py"),
        ("c", "payments/money.py"),
        ("Held", "engine/leases.py"),
    ]
    assert is_in("HeldLeases", "engine/leases.py")
    assert not is_in("HeldLeases", "payments/money.py")
    assert not is_in("HeldLeases.pesewas", "engine/leases.py")


@cache
def words() -> frozenset[str]:
    """Return every word of the sources, in lower case."""
    tops = (ROOT / "src", ROOT / "tests", ROOT / "bench", ROOT / "examples", ROOT / "deploy")
    files = (file for top in tops for file in top.rglob("*") if file.suffix in (*SUFFIXES, ".yml"))
    return frozenset(word for file in files for word in re.findall(r"\w+", file.read_text().lower()))
