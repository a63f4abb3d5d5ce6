import os

from browser.chromium import PROGRAMS, chromium_program

IS_ASKED = os.environ.get("SYNCCASH_TEST_BROWSER") == "1"
# They need a browser, which `make test` must not: `make test-browser` asks for them.
collect_ignore_glob = [] if IS_ASKED and chromium_program() else ["test_*.py"]


def pytest_terminal_summary(terminalreporter):
    if IS_ASKED and not chromium_program():
        terminalreporter.section("NO BROWSER, NOTHING WAS TESTED", sep="!", red=True)
        terminalreporter.line(
            f"None of {', '.join(PROGRAMS)} is installed, so the console was not tried in a browser. "
            "On Debian: apt-get install chromium"
        )


def pytest_sessionfinish(session, exitstatus):
    if IS_ASKED and not chromium_program() and exitstatus == 5:
        session.exitstatus = 0
