"""Generates `src/synccash/client/sync.py` from `aio.py`. With `--check`, compares them and writes nothing.

Only `aio.py` is edited by hand. The HTTP of the two clients has nothing in common: it is in `connections.py`
and `aio_connections.py`.
"""

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src" / "synccash" / "client"
SOURCE, TARGET = CLIENT / "aio.py", CLIENT / "sync.py"
DOCSTRING = '''"""The client for ordinary programs: one call, one answer. Standard library only.

Generated from `aio.py` by `tools/sync_client.py`: edit that file, then run `make generate`.
"""'''
NAMES = {
    "AsyncConnections": "Connections",
    "AsyncIterator": "Iterator",
    "AsyncSyncCash": "SyncCash",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aio_connections": "connections",
}
PHRASES = {
    "import asyncio\n": "",
    "Awaitable[None]": "None",
    "AsyncIterator, Awaitable, Callable": "Callable, Iterator",
    "asyncio.sleep": "time.sleep",
    "sleep=sleep": "sleep_sync=sleep",
    "policy.call(": "policy.call_sync(",
    "Use it inside one event loop": "Safe to share between threads",
    "for payment in page:\n                yield payment\n": "yield from page\n",
}
"""Longer texts that have no counterpart of the same name."""
_ASYNC = re.compile(r"\b(async|await) ")
_LEFT_OVER = re.compile(r"async|await|aio(?!\.py)", re.IGNORECASE)


class GenerationError(Exception):
    """`aio.py` cannot be translated; the text says what to change in it or in this program."""


def generated(source: str) -> str:
    """Return the synchronous client. Raises GenerationError."""
    text = _with_docstring(source)
    for phrase, counterpart in PHRASES.items():
        text = _replaced(re.escape(phrase), counterpart, text)
    for name, counterpart in NAMES.items():
        text = _replaced(rf"\b{name}\b", counterpart, text)
    text = _ASYNC.sub("", text)
    if left := _LEFT_OVER.search(text.removeprefix(DOCSTRING)):
        line = text[: left.start() + len(DOCSTRING)].count("\n") + 1
        raise GenerationError(f"{left[0]!r} is left over about line {line}: name its counterpart here")
    return _formatted(text)


def _with_docstring(source: str) -> str:
    first = next(tokenize.generate_tokens(io.StringIO(source).readline))
    if first.type != tokenize.STRING:
        raise GenerationError(f"{SOURCE.name} has to begin with its docstring")
    lines = source.splitlines(keepends=True)
    return f"{DOCSTRING}\n{''.join(lines[first.end[0] :])}"


def _replaced(pattern: str, counterpart: str, text: str) -> str:
    changed, count = re.subn(pattern, counterpart, text)
    if not count:
        raise GenerationError(f"{pattern} matches nothing any more: remove it here")
    return changed


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(  # noqa: S603 - a program of the lock, arguments of our own
        [ruff, "format", "--quiet", "--stdin-filename", TARGET, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise GenerationError(done.stderr)
    return done.stdout


def main() -> int:
    """Write the client; with `--check`, write nothing and exit with 1 where it is not current."""
    try:
        text = generated(SOURCE.read_text(encoding="utf-8"))
    except GenerationError as error:
        print(f"tools/sync_client.py: {error}", file=sys.stderr)
        return 1
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        print(f"{TARGET.name} is not what {SOURCE.name} says; run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
