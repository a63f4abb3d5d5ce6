import os

import pytest

from browser.chromium import PROGRAMS, chromium_program
from servers_fixture import fresh_database
from service.in_process import running_service

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


@pytest.fixture(scope="module")
def database_of_file(servers, migrated_template):
    with fresh_database(servers, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def service(database_of_file, tmp_path_factory):
    settings = {"risk_review_from": 50_000, "four_eyes": "off", "surplus_refund": "manual"}
    with running_service(
        database_of_file, tmp_path_factory.mktemp("rails"), tells=False, **settings
    ) as running:
        yield running
