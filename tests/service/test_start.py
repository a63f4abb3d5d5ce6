"""What a process says that cannot start, or not yet."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from postgres_proxy import postgres_proxy
from servers_fixture import execute
from service.conftest import KEYS
from service.installation import Answer, Running, call, wait_until
from synccash.local.free_ports import free_run_of_ports
from synccash.stores.postgres.schema.migrations import migrate

INSTALLATION = {"SYNCCASH_INSTALLATION_KEY": "5c" * 32}
PORTS = {"serve": "PORT", "worker": "WORKER_PORT", "webhooks": "WEBHOOK_PORT"}
EMPTY = "The database has no tables of this service. Run `synccash migrate`"


@contextmanager
def process(role: str, database_url: str, **settings: str) -> Iterator[tuple[Running, str]]:
    """Run a process, and return it with the address of its port."""
    port = free_run_of_ports(1)
    given = {"DATABASE_URL": database_url, PORTS[role]: str(port), **settings}
    environment = {f"SYNCCASH_{name}": value for name, value in given.items()}
    running = Running.of(role, environment={**KEYS, **INSTALLATION, **environment})
    try:
        yield running, f"http://127.0.0.1:{port}"
    finally:
        running.stop(signal.SIGKILL)


def ready(url: str) -> Answer | None:
    """The answer of `/health/ready`; None while nothing listens."""
    try:
        return call("GET", f"{url}/health/ready")
    except OSError:
        return None


def ready_with(url: str, status: int) -> Any:
    def answered() -> Any:
        answer = ready(url)
        return answer.body if answer is not None and answer.status == status else None

    return wait_until(f"{url} is ready with {status}", answered)


def served_over(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    """The status of a request over an open connection, and what the answer says about the connection."""
    connection.request("GET", "/api/v1/payments")
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.getheader("Connection")


@pytest.mark.parametrize("role", PORTS)
def test_a_process_on_an_empty_schema_says_so_and_starts_when_it_is_migrated(role, empty_database_url):
    with process(role, empty_database_url) as (running, url):
        waiting = ready_with(url, 503)
        assert waiting["status"] == "unavailable"
        assert waiting["warnings"] == {"schema": EMPTY}
        assert call("GET", f"{url}/health/live").status == 200
        refused = call("GET", f"{url}/api/v1/payments")
        assert (refused.status, refused.body["code"]) == (503, "service_unavailable")
        migrate(empty_database_url)
        assert ready_with(url, 200)["status"] in ("ok", "degraded")
        events = [json.loads(line)["event"] for line in running.printed]
        told = [event for event in events if event.startswith("schema")]
        # More than one problem is told if it looks while the migrations run.
        assert (set(told[:-1]), told[-1]) == ({"schema_not_ready"}, "schema_ready")


@pytest.mark.parametrize("role", PORTS)
async def test_a_process_whose_first_look_at_the_schema_was_not_answered_waits_for_it_all_the_same(
    role, empty_database_url
):
    async with postgres_proxy(empty_database_url) as between:
        between.silence()
        with process(role, between.url) as (_, url):
            await asyncio.to_thread(wait_until, "the process looks again", lambda: between.opened > 1)
            await between.restore()
            waiting = await asyncio.to_thread(ready_with, url, 503)
            assert waiting["warnings"] == {"schema": EMPTY}
            await asyncio.to_thread(migrate, empty_database_url)
            assert (await asyncio.to_thread(ready_with, url, 200))["status"] in ("ok", "degraded")


@pytest.mark.parametrize("role", PORTS)
def test_a_process_on_the_schema_of_a_newer_version_stays_unready(role, database_url):
    execute(database_url, "INSERT INTO schema_migrations (version) VALUES ('9999')")
    with process(role, database_url) as (running, url):
        told = ready_with(url, 503)["warnings"]["schema"]
        assert told.startswith("The database's schema has migrations of a newer version (9999)")
        assert running.stop() == 0


def test_a_running_process_stays_ready_when_the_next_version_migrates(database_url):
    with process("serve", database_url) as (_, url):
        ready_with(url, 200)
        execute(database_url, "INSERT INTO schema_migrations (version) VALUES ('9999')")
        assert ready(url).status == 200


def test_a_process_that_was_asked_to_stop_serves_on_unready_for_a_while(database_url):
    with process("serve", database_url, DRAIN_S="3600") as (running, url):
        ready_with(url, 200)
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        assert served_over(connection) == (401, None)
        running.process.send_signal(signal.SIGTERM)
        assert "draining" in ready_with(url, 503)["warnings"]
        assert served_over(connection) == (401, "close")
        assert running.stop() == 0, "a second signal ends the drain"


def test_a_drain_ends_by_itself(database_url):
    with process("serve", database_url, DRAIN_S="0.2") as (running, url):
        ready_with(url, 200)
        assert running.stop() == 0


def test_an_interrupt_stops_without_a_drain(database_url):
    with process("serve", database_url, DRAIN_S="3600") as (running, url):
        ready_with(url, 200)
        assert running.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("words", [("login", "ama"), ("enrol", "ama"), ("operators", "password")])
def test_a_command_that_asks_says_that_it_needs_a_terminal(command, words):
    token = {"SYNCCASH_OPERATOR_TOKEN": "sk_operator_1"}
    code, _, told = command(*words, environment=token)
    assert code == 1
    assert told.splitlines()[-1].startswith("synccash: The input has ended.")
    assert "Traceback" not in told


def test_a_reader_who_has_seen_enough_causes_no_traceback():
    words = [sys.executable, "-u", "-m", "synccash.cli", "config", "show"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.close()
        assert writer.stderr is not None
        told = writer.stderr.read()
    assert (writer.returncode, told) == (141, b"")
