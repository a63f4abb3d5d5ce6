"""Breakers of eight processes over one Valkey."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

PROGRAM = Path(__file__).with_name("breaker_process.py")
PROCESSES = 8
WAIT_S = 15.0


class Member:
    def __init__(self, url, instance, open_s):
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), url, instance, str(open_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, word):
        self.send(word)
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait(WAIT_S)
        self.process.stdout.close()


@contextlib.contextmanager
def cluster(url, *, open_s=60.0, number=PROCESSES, name="p"):
    members = [Member(url, f"{name}{i}", open_s) for i in range(number)]
    try:
        until(lambda: listeners(url) >= number)
        until(lambda: members[0].ask("live") == number)
        yield members
    finally:
        for member in members:
            member.end()


def listeners(url):
    with redis.Redis.from_url(url) as client:
        return client.pubsub_numsub("synccash:breakers")[0][1]


def until(true):
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def ask_all(members, word):
    for member in members:
        member.send(word)
    return [member.answer() for member in members]


def all_are(members, state):
    until(lambda: set(ask_all(members, "state")) == {state})


def commands(url):
    with redis.Redis.from_url(url) as client:
        seen = client.info("commandstats")
    return {
        name: counted["calls"]
        for name, counted in seen.items()
        if name.removeprefix("cmdstat_") in ("eval", "evalsha", "publish", "get", "set", "subscribe")
    }


def test_a_cluster_opens_with_one_of_it_and_a_reset_in_one_is_seen_by_all(valkey_url, record_property):
    with cluster(valkey_url) as members:
        members[0].ask("fail")
        all_are(members, "open")
        seen = members[1].ask("view")
        assert seen["state"] == "open"
        assert 0 < seen["retry_after"] <= 66
        assert {one["instance"] for one in seen["instances"]} == {f"p{i}" for i in range(PROCESSES)}

        at = members[3].ask("reset")
        all_are(members, "closed")
        last_ms = max(ask_all(members, "closed_at")) * 1_000 - at * 1_000
        record_property("reset_seen_by_all_ms", last_ms)
        print(f"a reset was seen by all after {last_ms:.1f} ms")
        assert members[6].ask("view")["state"] == "closed"


def test_one_process_probes_and_its_success_closes_all(valkey_url):
    with cluster(valkey_url, open_s=0.5) as members:
        members[0].ask("fail")
        all_are(members, "open")
        all_are(members, "half_open")
        probing = {}

        def somebody_probes():
            found = {i: ticket for i, ticket in enumerate(ask_all(members, "enter")) if ticket is not None}
            probing.update(found)
            return found

        until(somebody_probes)
        for _ in range(5):
            assert ask_all([m for i, m in enumerate(members) if i not in probing], "enter") == [None] * 7
        assert len(probing) == 1

        prober = members[next(iter(probing))]
        prober.ask("succeed")
        all_are(members, "closed")


def test_a_forced_open_survives_all_processes_until_its_reset(valkey_url):
    with cluster(valkey_url, number=2) as members:
        members[0].ask("force")
        all_are(members, "forced_open")
    with cluster(valkey_url, number=2, name="q") as members:
        all_are(members, "forced_open")
        members[1].ask("reset")
        all_are(members, "closed")


def test_healthy_calls_send_nothing(valkey_url):
    with cluster(valkey_url, number=2) as members:
        before = commands(valkey_url)
        members[0].ask("healthy")
        assert commands(valkey_url) == before


@pytest.mark.parametrize("harm", ["flush", "kill"])
def test_what_happens_to_valkey_moves_no_breaker_and_what_was_forced_is_put_back(mortal, harm):
    with cluster(mortal.url, number=2) as members:
        members[0].ask("force")
        all_are(members, "forced_open")
        getattr(mortal, harm)()
        assert ask_all(members, "state") == ["forced_open"] * 2
        if harm == "flush":
            return
        members[1].ask("reset")
        assert ask_all(members, "state") == ["forced_open", "closed"]
        mortal.start()
        all_are(members, "closed")
