"""The command line as a shell meets it: help, errors, pipes, terminals and completion."""

import inspect
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from fcntl import ioctl

import pytest
from cyclopts import App

import synccash
from synccash.cli import commands, main
from synccash.commands.examples import EXAMPLES

PROGRAM = [sys.executable, "-m", "synccash"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}


def run(*words: str, folder=None) -> tuple[int, str, str]:
    done = subprocess.run(
        [*PROGRAM, *words], env=CLEAN, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def on_terminal(*words: str, columns: int, **environment: str) -> str:
    """What the command writes on a terminal of this width."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {**CLEAN, "TERM": "xterm-256color", **environment}
    with subprocess.Popen([*PROGRAM, *words], env=env, stdout=follower, stdin=follower, stderr=follower):
        os.close(follower)
        written = b""
        try:
            while part := os.read(leader, 65_536):
                written += part
        except OSError:
            pass  # Linux reports the end of a terminal's other side as EIO
    os.close(leader)
    return written.decode().replace("\r\n", "\n")


def test_the_module_and_the_version_are_those_of_the_package():
    code, printed, _ = run("--version")
    assert (code, printed.strip()) == (0, synccash.__version__)
    with pytest.raises(AttributeError, match="no attribute 'version'"):
        _ = synccash.version


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_is_a_command_that_parses(path):
    app = commands()
    for example in EXAMPLES[path]:
        words = shlex.split(re.split(r" [|>] ", example)[0])
        while "=" in words[0]:
            del words[0]
        assert words[0] == "synccash"
        command, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
        assert command is not None
        assert bound is not None
        assert words[1 : 1 + len(path.split())] == path.split()


def leaves(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Every command that does something, with its path."""
    if app.default_command is not None:
        yield " ".join(path), app
    for name in app:
        if not name.startswith("-"):
            yield from leaves(app[name], (*path, name))


COMMANDS = dict(leaves(commands()))
STAY_IN_THE_FOREGROUND = {"up", "serve", "worker", "webhooks", "sandbox"}
WITHOUT_JSON = {*STAY_IN_THE_FOREGROUND, "demo", "completion", "audit export"}
"""`demo` tells a story, `completion` prints a shell's script, `audit export` prints JSON lines anyway."""
NOT_TRIED = {*WITHOUT_JSON, "drill", "enrol", "login", "operators password"}
"""The drill starts a service of its own; the others first ask a person."""


def test_the_walk_finds_the_commands():
    assert len(COMMANDS) > 50
    assert COMMANDS.keys() > NOT_TRIED


def test_every_command_can_print_json():
    signatures = {path: inspect.signature(app.default_command) for path, app in COMMANDS.items()}
    assert {path for path, one in signatures.items() if "json" not in one.parameters} == WITHOUT_JSON


def test_every_command_has_an_example_in_its_help():
    assert COMMANDS.keys() - EXAMPLES.keys() == set()


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - NOT_TRIED))
def test_every_command_prints_one_json_document_also_when_it_fails(path, tmp_path, monkeypatch, capsys):
    """No service and no database are there, so nearly all of them fail."""
    for name in os.environ.keys() - CLEAN.keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("SYNCCASH_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SYNCCASH_ADMIN_KEY", "sk_admin_x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*example_words(EXAMPLES[path][0]), *([] if "--json" in EXAMPLES[path][0] else ["--json"])])
    written = capsys.readouterr()
    document = json.loads(written.out)
    if "error" in document:
        assert (ended.value.code, written.err) == (1, "")
        assert set(document) == {"error"}
        assert set(document["error"]) == {"message"}


def example_words(example: str) -> list[str]:
    """The words of an example after `synccash`."""
    words = shlex.split(re.split(r" [|>] ", example)[0])
    return words[words.index("synccash") + 1 :]


def test_help_shows_the_examples():
    code, printed, _ = run("payments", "list", "--help")
    assert code == 0
    assert "synccash payments list --detail under_review" in printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("payments", "list", "--limti", "3"), "--limti"),
        (("payments", "list", "--limit", "many"), "--limit"),
        (("paymets",), "Did you mean"),
        (("keys", "create"), "--merchant"),
    ],
)
def test_an_error_has_one_line_and_with_json_one_shape(words, told, tmp_path):
    code, printed, err = run(*words, folder=tmp_path)
    assert (code, printed) == (1, "")
    assert err.startswith("synccash: ")
    assert told in err
    code, printed, err = run(*words, "--json", folder=tmp_path)
    assert (code, err) == (1, "")
    assert set(json.loads(printed)) == {"error"}
    assert set(json.loads(printed)["error"]) == {"message"}


def test_a_wrong_setting_is_an_error_of_the_same_shape(tmp_path):
    (tmp_path / "synccash.toml").write_text("prot = 1\n")
    code, printed, _ = run("config", "show", "--json", folder=tmp_path)
    assert (code, "did you mean port?" in json.loads(printed)["error"]["message"]) == (1, True)


@pytest.mark.parametrize(
    "words",
    [("config", "show"), ("config", "show", "--json"), ("payments", "--help"), ("paymets", "--json")],
)
def test_a_reader_that_has_enough_causes_no_traceback(words):
    with subprocess.Popen(
        [*PROGRAM, *words], env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.close()
        told = writer.stderr.read()
    assert told == b""
    assert writer.returncode == 141


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_table_fits_the_terminal(columns):
    written = on_terminal("config", "show", columns=columns, NO_COLOR="1")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written).splitlines()
    assert any("mtn_momo_former_disbursement_subscription_key" in line for line in lines)
    assert max(map(len, lines)) <= columns


def test_colour_is_for_terminals_that_want_it():
    assert "\x1b[" in on_terminal("config", "show", columns=120)
    assert "\x1b[3" not in on_terminal("config", "show", columns=120, NO_COLOR="1")
    assert "\x1b[" not in run("config", "show")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion(shell):
    code, printed, _ = run("completion", shell)
    assert code == 0
    assert "payments" in printed
    assert "doctor" in printed
