"""Runs the toolkit, the middleware and the client where nothing but what they promise to need is installed.

1. The wheel alone (`pip install synccash`): all their modules, each block of the toolkit's pages, a call of
   the client, and the example without a framework.
2. The wheel and the web frameworks: the other examples, each of which answers a repeated order once.
3. `resilience` and `middleware`, copied into a package with another name, without synccash: their suites.

`make test-bare` runs it. Nothing is downloaded: frameworks and test tools are linked from this environment.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("fastapi", "httpx", "litestar", "starlette", "django", "asgiref")
TEST_TOOLS = (
    *FRAMEWORKS,
    "aiohttp",
    "basedpyright",
    "hypothesis",
    "mypy",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "requests",
)
COPY = "borrowed"
RUN_SUITES = ("-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "tests")
NEED_THE_SERVICE = {
    "resilience/test_log_events.py": "structlog and the service's log format",
    "middleware/test_claim_heartbeat.py": "claims in PostgreSQL",
}
"""Suites that are about the toolkit inside the service."""
HELPERS = ("rails/raw_server.py",)
"""Modules of other suites that these suites use."""

IMPORT_ALL = """
import importlib.util, pkgutil, sys
for package in sys.argv[1:]:
    found = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(found.__path__, package + ".")]
    assert len(names) > 10, names
    names = [name for name in names if not name.endswith(".pytest_plugin")]
    for name in names:
        importlib.import_module(name)
third = [name for name in ("structlog", "msgspec", "aiohttp", "litestar") if importlib.util.find_spec(name)]
assert not third, third
"""
CALL_CLIENT = """
import http.server, json, threading
from synccash.client import AuthenticationError, SyncCash

class Unauthorized(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": 401, "code": "api_key_unknown", "detail": "no", "title": "no"}).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_): ...

server = http.server.HTTPServer(("127.0.0.1", 0), Unauthorized)
threading.Thread(target=server.serve_forever, daemon=True).start()
with SyncCash(f"http://127.0.0.1:{server.server_port}", "sk_test_1") as cash:
    try:
        cash.get_payment("pay_1")
    except AuthenticationError as error:
        print(error.code)
server.shutdown()
"""
FIND_PLUGIN = """
from importlib.metadata import entry_points
assert [one.value for one in entry_points(group="pytest11")] == ["synccash.resilience.pytest_plugin"]
"""
UNHURRIED = """
from hypothesis import settings
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
"""
"""As the suite's own conftest: on a loaded machine an example may take as long as it likes."""
POST_TWICE = """
import asyncio, importlib.util, sys
import httpx

async def main(app, path):
    key = {"Idempotency-Key": "order-7"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as shop:
        first, again = [await shop.post(path, json={"item": 7}, headers=key) for _ in range(2)]
    assert (first.status_code, again.content) == (201, first.content), (first, again)
    assert again.headers["idempotent-replayed"] == "true"

assert importlib.util.find_spec("structlog") is None
asyncio.run(main(importlib.import_module(sys.argv[1]).app, sys.argv[2]))
"""
ASGI_EXAMPLES = {
    "fastapi_app": "/orders",
    "litestar_app": "/orders",
    "starlette_mount": "/api/orders",
    "django_app": "/orders",
    "wsgi_app": "/orders",
}


class Environment:
    """A virtual environment without pip. `distributions` are linked into it, with all that they need."""

    def __init__(self, folder: Path, *, wheel: Path | None = None, distributions: Iterable[str] = ()) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (packages,) = folder.glob("lib/python*/site-packages")
        if wheel is not None:
            pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install"]
            run([*pip, "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)])
        for found in with_requirements(distributions).values():
            _link(found, packages)

    def run(self, *arguments: str, cwd: Path, path: Path | None = None) -> str:
        """Run Python with nothing but this environment, and `path` in front; return what it prints."""
        return run_python(self.python, *arguments, cwd=cwd, path=path)


def run_python(python: Path, *arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run an interpreter without the settings of this one; return what it prints."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    return run([str(python), "-B", *arguments], cwd=cwd, env=variables)


def run(command: list[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)[:300]}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def with_requirements(names: Iterable[str]) -> dict[str, Distribution]:
    """Return the installed distributions with these names and all that they require, by name."""
    found: dict[str, Distribution] = {}
    missing, wanted = set[str](), [Requirement(name) for name in names]
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found or name in missing:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        for text in found[name].requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                wanted.append(needed)
    if missing:
        raise SystemExit(f"not installed: {', '.join(sorted(missing))}; run `make .venv/dev`")
    return found


def _link(found: Distribution, packages: Path) -> None:
    tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        link = packages / top
        if not link.exists():
            link.symlink_to(Path(str(found.locate_file(top))).resolve())


def toolkit_pages() -> list[Path]:
    """Return the pages whose blocks need nothing else."""
    return sorted((ROOT / "docs" / "toolkit").glob("*.md"))


def check_wheel_alone(folder: Path, wheel: Path) -> None:
    """Run what `pip install synccash` alone has to run."""
    bare = Environment(folder / "bare", wheel=wheel)
    bare.run("-c", IMPORT_ALL, "synccash.resilience", "synccash.middleware", cwd=folder)
    assert bare.run("-c", CALL_CLIENT, cwd=folder) == "api_key_unknown\n"  # noqa: S101
    bare.run(str(ROOT / "examples" / "plain_asyncio.py"), cwd=folder)
    bare.run("-c", FIND_PLUGIN, cwd=folder)
    blocks = 0
    for page in toolkit_pages():
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if "synccash.observability" in block[1]:
                continue  # its packages come with an extra; the suite runs it
            line = text.count("\n", 0, block.start()) + 1
            program = folder / f"{page.stem}_{line}.py"
            program.write_text("\n" * line + block[1], encoding="utf-8")
            bare.run(str(program), cwd=folder)
            blocks += 1
    if blocks < 10:
        raise SystemExit(f"only {blocks} blocks were found in the toolkit's pages")
    print(f"the wheel alone: all modules, the client, an example and {blocks} blocks of documentation")


def check_examples(folder: Path, wheel: Path) -> None:
    """Run the examples with the frameworks that they name."""
    frameworks = Environment(folder / "frameworks", wheel=wheel, distributions=FRAMEWORKS)
    left = {file.stem for file in (ROOT / "examples").glob("*.py")} - {"plain_asyncio", *ASGI_EXAMPLES}
    if left:
        raise SystemExit(f"examples that nothing runs: {', '.join(sorted(left))}")
    for name, path in ASGI_EXAMPLES.items():
        frameworks.run("-c", POST_TWICE, name, path, cwd=folder, path=ROOT / "examples")
    print(f"with frameworks: {len(ASGI_EXAMPLES)} examples")


def check_copies(folder: Path) -> None:
    """Run the suites of the copied packages, in an environment without synccash."""
    copied = copy_suites(folder)
    suite = Environment(folder / "suite", distributions=TEST_TOOLS)
    refused = "import importlib.util as u; print([n for n in ('synccash', 'structlog') if u.find_spec(n)])"
    assert suite.run("-c", refused, cwd=copied, path=copied) == "[]\n"  # noqa: S101
    printed = suite.run(*RUN_SUITES, cwd=copied, path=copied)
    print(f"copied to {COPY}: {printed.strip().splitlines()[-1]}")


def copy_suites(folder: Path) -> Path:
    """Copy both packages with their suites into `folder`, under another name; return where they are."""
    for part in ("resilience", "middleware"):
        _copy(ROOT / "src" / "synccash" / part, folder / "copied" / COPY / part)
        _copy(ROOT / "tests" / part, folder / "copied" / "tests" / part)
    (folder / "copied" / COPY / "__init__.py").touch()
    (folder / "copied" / COPY / "py.typed").touch()
    for name in NEED_THE_SERVICE:
        (folder / "copied" / "tests" / name).unlink()
    for name in HELPERS:
        (folder / "copied" / "tests" / name).parent.mkdir()
        shutil.copy(ROOT / "tests" / name, folder / "copied" / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", folder / "copied")
    (folder / "copied" / "tests" / "conftest.py").write_text(UNHURRIED, encoding="utf-8")
    return folder / "copied"


def _copy(source: Path, target: Path) -> None:
    """Copy a package with another name in all its imports."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*target.rglob("*.py"), *target.rglob("*.txt")]:
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"\bsynccash\b(?=\.(resilience|middleware)\b)", COPY, text), encoding="utf-8")


def main() -> None:
    """Run all three."""
    with tempfile.TemporaryDirectory(prefix="synccash-bare-") as name:
        folder = Path(name)
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")])
        (wheel,) = (folder / "dist").glob("*.whl")
        check_wheel_alone(folder, wheel)
        check_examples(folder, wheel)
        check_copies(folder)


if __name__ == "__main__":
    main()
