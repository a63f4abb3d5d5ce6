"""The service's guarantees: a real `synccash up` under kills and faults, checked by the rail's book."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.installation import (
    Answer,
    Installation,
    Running,
    at_once,
    descendants,
    fresh,
    still_there,
    wait_until,
)
from synccash.servers.existing_server import running_database


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation.start(tmp_path_factory.mktemp("up"))
    yield installation
    pids = descendants(installation.pid)
    assert installation.stop() == 0
    assert still_there(pids) == []


@pytest.fixture
def up(shared: Installation) -> Iterator[Installation]:
    shared.faults()
    yield shared
    shared.faults()


def test_a_repeated_payment_request_debits_once(up: Installation):
    key, reference = fresh(), fresh()
    first = up.pay(key=key, reference=reference)
    assert first.status == 201
    assert (first.body["status"], first.body["status_detail"]) == ("processing", "awaiting_payer")
    again = up.pay(key=key, reference=reference)
    assert (again.status, again.raw) == (first.status, first.raw)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    payment = up.ended(first.body["id"])
    assert payment["status"] == "succeeded"
    assert payment["amount_received"] == 2500
    assert up.debits(payment) == 1


def test_fifty_callers_with_one_key_make_one_debit(up: Installation):
    key, reference = fresh(), fresh()
    answers = at_once(50, lambda: up.pay(key=key, reference=reference))
    told = {answer.body["id"] for answer in answers if answer.status in (201, 202)}
    assert len(told) == 1
    for answer in answers:
        if answer.status not in (201, 202):
            assert answer.status in (409, 429), answer.raw
            assert int(answer.headers["retry-after"]) >= 1
    payment = up.ended(told.pop())
    assert payment["status"] == "succeeded"
    assert up.debits(payment) == 1


def test_another_body_under_a_used_key_is_refused(up: Installation):
    key, reference = fresh(), fresh()
    assert up.pay(key=key, reference=reference).status == 201
    other = up.pay(key=key, reference=reference, amount=9)
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("lost", ["after_commit", "before_commit"])
def test_a_lost_response_neither_fails_nor_doubles_a_payment(up: Installation, lost: str):
    up.faults(drop=lost)
    answer = up.pay()
    assert answer.status == 202
    assert answer.body["status_detail"] == "outcome_unknown"
    up.faults()
    payment = up.ended(answer.body["id"])
    assert payment["status"] == "succeeded"
    assert up.debits(payment) == 1
    assert payment["attempt_count"] == 1


def test_a_rail_outage_delays_payments_and_loses_none(up: Installation):
    up.faults(down=True)
    answer = up.pay()
    assert answer.status == 202
    up.faults()
    payment = up.ended(answer.body["id"])
    assert payment["status"] == "succeeded"
    assert up.debits(payment) == 1


def test_payments_succeed_despite_errors_of_the_rail(up: Installation):
    up.faults(error_rate=0.5)
    answers = at_once(8, up.pay)
    assert {answer.status for answer in answers} <= {201, 202}
    up.faults()
    for answer in answers:
        payment = up.ended(answer.body["id"])
        assert (payment["status"], up.debits(payment)) == ("succeeded", 1)


def test_the_services_processes_do_not_own_their_tables(up: Installation):
    logs = Path(up.running.said("logs "))
    owner_url = running_database(logs.parent / "servers")
    assert owner_url is not None

    async def roles() -> set[str]:
        connection = await asyncpg.connect(owner_url)
        try:
            rows = await connection.fetch(
                "SELECT DISTINCT usename FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL"
            )
            return {row["usename"] for row in rows}
        finally:
            await connection.close()

    assert up.ended(up.pay().body["id"])["status"] == "succeeded"
    assert asyncio.run(roles()) == {"synccash_service"}


def test_a_forged_callback_changes_nothing(up: Installation):
    up.faults(callbacks="forged", approve_after_ms=3_600_000)
    payment_id = up.pay().body["id"]
    timeline = f"/payments/{payment_id}/timeline"
    wait_until(
        "the rail is asked because of the callback",
        lambda: any(e["kind"] == "inquired" for e in up.send("GET", timeline).body["data"]),
    )
    payment = up.payment(payment_id)
    assert (payment["status"], payment["amount_received"]) == ("processing", 0)
    assert up.debits(payment) == 0


@pytest.mark.parametrize("how", ["duplicate", "early", "lost", "late"])
def test_faulty_callbacks_lose_no_payment(up: Installation, how: str):
    up.faults(callbacks=how)
    payment = up.ended(up.pay().body["id"])
    assert payment["status"] == "succeeded"
    assert up.debits(payment) == 1


def test_a_payer_who_declines_ends_the_payment_without_a_debit(up: Installation):
    # 451 is MTN's published ending of numbers whose payers reject.
    payment = up.ended(up.pay("0241230451").body["id"])
    assert payment["status"] == "failed"
    assert payment["last_error"]["code"] == "payer_declined"
    assert payment["last_error"]["whose_problem"] == "payer"
    assert up.debits(payment) == 0


def test_of_two_refunds_of_60_on_100_one_is_accepted(up: Installation):
    payment_id = up.ended(up.pay(amount=100).body["id"])["id"]
    answers = at_once(2, lambda: up.refund(payment_id, 60))
    assert sorted(answer.status for answer in answers) == [201, 409]
    accepted = next(answer for answer in answers if answer.status == 201).body
    path = f"/refunds/{accepted['id']}"
    wait_until("the refund ends", lambda: up.send("GET", path).body["status"] == "succeeded")
    assert up.payment(payment_id)["amount_refunded"] == 60
    references = {attempt["reference"] for attempt in accepted["attempts"]}
    assert [c["amount"] for c in up.book()["credits"] if c["reference"] in references] == [60]


def in_background(work: Any) -> threading.Thread:
    """Send a request and discard the response, as a client whose server crashes."""

    def ask() -> Answer | None:
        with contextlib.suppress(OSError):
            return work()
        return None

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def attempted(up: Installation, reference: str) -> Any:
    """The payment, once its first attempt is committed: the fraud service is asked before that."""

    def with_attempt() -> Any:
        payment = up.by_reference(reference)
        return payment if payment and payment["attempts"] else None

    return wait_until("the attempt is committed", with_attempt)


def test_an_api_killed_before_it_sent_to_the_rail_loses_nothing(up: Installation):
    (api,) = up.children("serve")
    os.kill(api, signal.SIGKILL)
    wait_until("another API process", lambda: up.children("serve") not in ([], [api]))
    # A new process has no token yet: its first request to the rail is held up before any money request.
    up.faults(latency_ms=3_000)
    reference, before = fresh(), up.book()["requests"]
    client = in_background(lambda: up.pay(reference=reference))
    payment = attempted(up, reference)
    assert up.debits(payment) == 0
    assert payment["attempts"][0]["state"] == "prepared"
    os.kill(up.children("serve")[0], signal.SIGKILL)
    client.join()
    up.faults()
    payment = up.ended(payment["id"])
    assert payment["status"] == "succeeded"
    assert up.debits(payment) == 1
    assert up.book()["requests"] > before


def test_an_api_killed_after_the_rail_booked_loses_nothing(up: Installation):
    assert up.ended(up.pay().body["id"])["status"] == "succeeded"
    up.faults(latency_ms=1_000)
    reference = fresh()
    client = in_background(lambda: up.pay(reference=reference))
    payment = attempted(up, reference)
    (api,) = up.children("serve")
    # Stopped while the rail still thinks, it cannot read the answer that the rail gives.
    os.kill(api, signal.SIGSTOP)
    sent = payment["attempts"][0]["reference"]
    wait_until("the rail has it", lambda: any(p["reference"] == sent for p in up.book()["prompts"]))
    os.kill(api, signal.SIGKILL)
    client.join()
    up.faults()
    payment = up.ended(payment["id"])
    assert payment["status"] == "succeeded"
    assert up.debits(payment) == 1
    assert payment["attempt_count"] == 1


def test_a_killed_worker_is_replaced_and_payments_continue(up: Installation):
    up.faults(callbacks="lost", approve_after_ms=1_000)
    payment_id = up.pay().body["id"]
    os.kill(up.children("worker")[0], signal.SIGKILL)
    payment = up.ended(payment_id)
    assert (payment["status"], up.debits(payment)) == ("succeeded", 1)


def looked_up(up: Installation, query: str, *arguments: Any) -> Any:
    """One value of the service's own database, for when its API is stopped."""
    environment = Path(f"/proc/{up.children('worker')[0]}/environ").read_bytes().decode().split("\0")
    url = next(line for line in environment if line.startswith("SYNCCASH_DATABASE_URL=")).partition("=")[2]

    async def look() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return asyncio.run(look())


def succeeded(up: Installation, payment_id: str) -> bool:
    return looked_up(up, "SELECT status FROM payments WHERE id = $1", payment_id) == "succeeded"


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that is stopped, as by a suspended machine, and wakes up as if nothing had been."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("when", ["before its first byte left", "before it read the rail's answer"])
def test_an_api_paused_past_its_lease_sends_nothing_twice_and_returns_the_outcome(
    up: Installation, when: str
):
    if when.endswith("left"):
        (api,) = up.children("serve")
        os.kill(api, signal.SIGKILL)
        wait_until("another API process", lambda: up.children("serve") not in ([], [api]))
        up.faults(latency_ms=3_000)  # it has no token yet, and waits for one
    else:
        assert up.ended(up.pay().body["id"])["status"] == "succeeded"
        up.faults(latency_ms=1_000)
    key, reference = fresh(), fresh()
    told: list[Answer] = []
    client = in_background(lambda: told.append(up.pay(key=key, reference=reference)))
    payment = attempted(up, reference)
    with stopped(up.children("serve")[0]):
        up.faults()
        wait_until("the worker has brought it to its end", lambda: succeeded(up, payment["id"]))
    client.join()
    (first,) = told
    assert first.body["id"] == payment["id"]
    again = up.pay(key=key, reference=reference)
    assert (again.status, again.raw, again.headers["idempotent-replayed"]) == (
        first.status,
        first.raw,
        "true",
    )
    payment = up.payment(payment["id"])
    assert (payment["status"], payment["attempt_count"], up.debits(payment)) == ("succeeded", 1, 1)
    (sent,) = (attempt["reference"] for attempt in payment["attempts"])
    assert sum(prompt["reference"] == sent for prompt in up.book()["prompts"]) == 1


def test_a_worker_paused_past_its_lease_completes_nothing_and_sends_nothing_twice(up: Installation):
    up.faults(drop="before_commit")
    payment_id = up.pay().body["id"]
    up.faults(latency_ms=1_000)
    (sleeper,) = up.children("worker")
    again = "SELECT sends FROM attempts WHERE order_id = $1"
    wait_until("the worker sends it again", lambda: looked_up(up, again, payment_id) == 2)
    environment = dict(
        line.split("=", 1)
        for line in Path(f"/proc/{sleeper}/environ").read_bytes().decode().split("\0")
        if line.startswith("SYNCCASH_")
    )
    with stopped(sleeper):
        up.faults()
        other = Running.of("worker", environment=environment)
        try:
            payment = up.ended(payment_id)
            version = payment["version"]
        finally:
            assert other.stop() == 0
    # The sleeper is the only worker again: what it does for another payment, it does after its waking.
    up.faults(callbacks="lost")
    assert up.ended(up.pay().body["id"])["status"] == "succeeded"
    payment = up.payment(payment_id)
    assert (payment["status"], payment["version"], up.debits(payment)) == ("succeeded", version, 1)
    sent = payment["attempts"][0]["reference"]
    assert sum(prompt["reference"] == sent for prompt in up.book()["prompts"]) == 1
    ends = "SELECT count(*) FROM events WHERE object_id = $1 AND type = 'payment.succeeded'"
    assert looked_up(up, ends, payment_id) == 1


def test_killing_the_process_tree_leaves_no_process_and_loses_no_payment(tmp_path: Path):
    sandbox = Running.of("sandbox", "--port", "0", "--data-dir", str(tmp_path / "sandbox"))
    try:
        url = sandbox.said("sandbox ")
        up = Installation.start(tmp_path / "data", sandbox_url=url)
        key = up.key
        up.faults(latency_ms=500)
        references = [fresh() for _ in range(10)]
        clients = [in_background(lambda r=reference: up.pay(reference=r)) for reference in references]
        wait_until("commit 1 of all", lambda: all(up.by_reference(r) for r in references))
        pids = descendants(up.pid)
        assert len(pids) >= 5
        assert up.running.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until("no process of the old tree is left", lambda: not still_there(pids))
        for client in clients:
            client.join()
        up = Installation.start(tmp_path / "data", sandbox_url=url)
        try:
            assert up.key == key
            up.faults()
            for reference in references:
                payment = up.ended(up.by_reference(reference)["id"])
                assert payment["status"] == "succeeded"
                assert up.debits(payment) == 1
        finally:
            assert up.stop() == 0
    finally:
        sandbox.stop()
