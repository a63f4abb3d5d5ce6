"""Routing of whole processes: the dry run, and payments that avoid a degraded rail and return to it."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.installation import Installation, call, wait_until

RAILS = {
    "SYNCCASH_PAYSTACK_ENVIRONMENT": "test",
    "SYNCCASH_PAWAPAY_ENVIRONMENT": "test",
    "SYNCCASH_PAYSTACK_SECRET_KEY": "sk_test_x",
    "SYNCCASH_PAYSTACK_EMAIL": "shop@example.com",
    "SYNCCASH_PAWAPAY_BASE_URL": "http://localhost:1",
    "SYNCCASH_PAWAPAY_TOKEN": "t",
}


def command(*arguments: str, **settings: str) -> tuple[int, str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    done = subprocess.run(
        [sys.executable, "-m", "synccash.cli", *arguments],
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_dry_run_shows_what_would_be_chosen_and_why():
    costs = "paystack: 1.95%; pawapay: 1%"
    code, out, _ = command("routes", "--network", "mtn", "--json", **RAILS, SYNCCASH_ROUTING_COSTS=costs)
    found = json.loads(out)
    assert (code, found["chosen"], found["reason"]) == (0, "pawapay", "best_score")
    assert [one["cost_percent"] for one in found["considered"]] == [1.0, 1.95]
    assume = ("--assume", "pawapay=0.5", "--assume", "paystack=open")
    code, out, _ = command("routes", "--network", "mtn", *assume, **RAILS, SYNCCASH_ROUTING_COSTS=costs)
    assert (code, out.splitlines()[0]) == (0, "pawapay: only_able")
    assert out.splitlines()[-1].split()[-1] == "breaker_open"


def test_the_dry_run_reports_an_unusable_rule_and_a_lack_of_rails():
    code, _, error = command("routes", **RAILS, SYNCCASH_ROUTING_SPLITS="mtn: paystak 100")
    assert (code, "routing_splits: 'mtn: paystak 100'" in error, "mean paystack?" in error) == (1, True, True)
    code, _, error = command("config", "check", **RAILS, SYNCCASH_ROUTING_PREFERENCES="*: hubtel")
    assert (code, "routing_preferences" in error) == (1, True)
    code, out, _ = command("routes", "--json")
    assert (code, json.loads(out)["reason"]) == (2, "no_able_rail")


def test_the_check_of_the_settings_tells_that_nothing_would_be_encrypted():
    keys = {"SYNCCASH_ENCRYPTION_KEYS": f"1:{'e1' * 32}", "SYNCCASH_LOOKUP_KEY": "e2" * 32}
    for given, code, told in (({}, 0, True), (keys, 0, False)):
        found, out, _ = command("config", "check", **RAILS, **given)
        assert (found, "encryption_keys and lookup_key are not set" in out) == (code, told), out
    found, _, error = command("config", "check", **RAILS, SYNCCASH_LOOKUP_KEY="e2" * 32)
    assert (found, "encryption_keys is not set" in error) == (1, True)


@contextlib.contextmanager
def merchant() -> Iterator[tuple[str, list[Any]]]:
    """A merchant's server, and the events that came to it."""
    heard: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            challenged = event["type"] == "endpoint.verification"
            answer = json.dumps({"challenge": event["data"]["object"]["challenge"]}) if challenged else ""
            if not challenged:
                heard.append(event)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", heard
        finally:
            server.shutdown()


class Stream:
    """Payments one after another, each by another payer, at the rail that the service chooses."""

    def __init__(self, up: Installation) -> None:
        self.up = up
        self.numbers = itertools.count(100_000)
        self.ids: list[str] = []

    def pay(self, count: int) -> list[str]:
        """To which rail each payment went first."""
        first: list[str] = []
        for _ in range(count):
            answer = self.up.pay(f"0244{next(self.numbers)}", rail=None)
            assert answer.status in (201, 202), answer.raw
            self.ids.append(answer.body["id"])
            first.append(answer.body["attempts"][0]["rail"])
        return first


HALF_OF_THEM = [{"on": "money", "answer": "http_503"}, {"on": "money", "answer": "normal"}] * 200


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Any:
    installation = Installation.start(
        tmp_path_factory.mktemp("up"),
        SYNCCASH_HEALTH_HALF_LIFE_S="2",
        SYNCCASH_HEALTH_DEGRADED_BELOW="0.9",
        SYNCCASH_HEALTH_RECOVERED_ABOVE="0.95",
        SYNCCASH_HEALTH_HOLD_S="1",
        SYNCCASH_WEBHOOK_PRIVATE_ADDRESSES="true",
        SYNCCASH_ROUTING_PROBE_SHARE="0.2",
        SYNCCASH_ROUTING_PROBE_EVERY_S="0.1",
    )
    yield installation
    assert installation.stop() == 0


def script(up: Installation, steps: list[Any]) -> None:
    url = f"{up.sandbox}/control/mtn_momo/script"
    answer = call("PUT", url, {"next": steps}) if steps else call("DELETE", url)
    assert answer.status < 300, answer.raw


def test_payments_avoid_a_degraded_rail_and_return_and_merchants_are_notified_once(up: Installation):
    stream = Stream(up)
    with merchant() as (url, heard):
        wanted = {"url": url, "types": ["rail.degraded", "rail.recovered"]}
        assert up.send("POST", "/webhook-endpoints", wanted).status == 201
        assert set(stream.pay(3)) == {"mtn_momo"}
        script(up, HALF_OF_THEM)
        wait_until("payments leave MTN", lambda: "mtn_momo" not in stream.pay(3))
        wait_until("the trouble is told", lambda: stream.pay(2) and heard)
        while_sick = Counter(stream.pay(20))
        assert while_sick["mtn_momo"] <= 8, while_sick
        script(up, [])
        wait_until("payments come back to MTN", lambda: set(stream.pay(3)) == {"mtn_momo"})
        wait_until("the recovery is told", lambda: stream.pay(2) and len(heard) > 1)
    told = [(event["type"], event["data"]["object"]["id"]) for event in heard]
    assert told == [("rail.degraded", "mtn_momo:collect"), ("rail.recovered", "mtn_momo:collect")]
    for payment_id in stream.ids:
        payment = up.ended(payment_id)
        assert payment["status"] == "succeeded", payment
        assert all(set(one) <= {"rail", "score", "skipped"} for one in payment["routing"]["considered"])


def test_an_operator_sees_how_the_running_service_would_route(up: Installation):
    admin, url = up.running.said("admin key "), up.api.removesuffix("/api/v1")
    asked = ("routes", "--live", "--url", url, "--network", "telecel", "--json")
    code, out, error = command(*asked, SYNCCASH_ADMIN_KEY=admin)
    assert code == 0, error
    found = json.loads(out)
    assert found["chosen"] in ("paystack", "hubtel", "pawapay")
    assert {one["rail"]: one.get("skipped") for one in found["considered"]}[
        "mtn_momo"
    ] == "network_not_served"
    assert set(found["considered"][0]["seen"]) == {"send", "end", "pace", "inquiry", "callback"}
    assert up.send("GET", "/resilience/routes").status == 403


def test_no_payer_was_debited_twice_on_any_rail(up: Installation):
    rails = call("GET", f"{up.sandbox}/").body["rails"]
    books = [call("GET", f"{up.sandbox}/control/{rail}/book").body for rail in rails]
    debits = Counter(debit["msisdn"] for book in books for debit in book["debits"])
    assert debits
    assert set(debits.values()) == {1}
