"""Every fault of a rail, seen from outside and held against the book."""

import asyncio
from uuid import uuid4

import aiohttp
import pytest

from sandbox.momo import PAYER, ask

DEFAULTS = {
    "latency_ms": 0.0,
    "error_rate": 0.0,
    "drop": None,
    "drop_rate": 1.0,
    "callbacks": "normal",
    "approve_after_ms": 300.0,
    "down": False,
    "other_amount_rate": 0.0,
    "other_currency_rate": 0.0,
    "other_reference_rate": 0.0,
    "not_found_after_found_rate": 0.0,
    "failed_then_success_rate": 0.0,
    "late_success_after_ms": 5000.0,
    "callback_failure_rate": 0.0,
    "reversed_rate": 0.0,
    "reverse_after_ms": 1000.0,
}


async def test_a_fault_that_is_not_named_keeps_its_value(world):
    await world.faults(error_rate=0.25)
    assert await world.faults(drop="before_commit", drop_rate=0.5) == DEFAULTS | {
        "error_rate": 0.25,
        "drop": "before_commit",
        "drop_rate": 0.5,
        "approve_after_ms": 0.0,
    }
    assert (await world.control("GET", "mtn_momo/faults")).body["error_rate"] == 0.25
    assert (await world.control("DELETE", "mtn_momo/faults")).body == DEFAULTS


async def test_bad_faults_are_refused_with_every_key_named_and_change_nothing(world):
    answer = await world.control(
        "PUT",
        "mtn_momo/faults",
        {"latency": 5, "error_rate": 1.5, "drop": "sometimes", "callbacks": "never", "down": 1},
    )
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    named = {error["field"]: error["message"] for error in answer.body["errors"]}
    assert set(named) == {"latency", "error_rate", "drop", "callbacks", "down"}
    assert "latency_ms" in named["latency"]
    assert (await world.control("GET", "mtn_momo/faults")).body == DEFAULTS | {"approve_after_ms": 0.0}


@pytest.mark.parametrize("body", [b"[]", b'"down"', b"null", b"7"])
async def test_faults_must_be_an_object(world, body):
    answer = await ask(world.session, "PUT", f"{world.url}/control/mtn_momo/faults", data=body)
    assert answer.status == 422


async def test_control_says_what_it_does_not_have(world):
    assert (await world.control("GET", "airtel/book")).status == 404
    assert (await world.control("GET", "mtn_momo/nothing")).status == 404
    answer = await world.control("POST", "mtn_momo/book")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    assert (await world.control("GET", "reset")).status == 405
    broken = await ask(world.session, "PUT", f"{world.url}/control/mtn_momo/faults", data=b"{")
    assert broken.status == 400


async def test_a_slow_rail_has_booked_nothing_when_the_caller_gives_up(world, merchant):
    await world.faults(latency_ms=600_000)
    with pytest.raises(TimeoutError):
        await merchant.collect(timeout=aiohttp.ClientTimeout(total=0.2))
    book = await world.book()
    assert (book["prompts"], book["requests"]) == ([], 0)


async def test_errors_hit_money_requests_only_and_book_nothing(world, merchant):
    await world.faults(error_rate=1.0)
    answer = await merchant.collect()
    assert (answer.status, answer.body) == (500, "")
    assert (await merchant.call("GET", "/collection/v1_0/account/balance")).status == 200
    assert (await merchant.take_token("collection")).status == 200
    assert await world.book() == {"debits": [], "credits": [], "prompts": [], "requests": 1, "faults": {}}


async def test_with_half_the_requests_failing_the_book_has_the_other_half(world, merchant):
    await world.faults(error_rate=0.5)
    statuses = [(await merchant.collect()).status for _ in range(40)]
    book = await world.book()
    assert book["requests"] == 40
    assert len(book["prompts"]) == statuses.count(202)
    assert statuses.count(202) + statuses.count(500) == 40
    assert 0 < statuses.count(500) < 40


async def test_a_drop_before_the_commit_leaves_nothing(world, merchant):
    await world.faults(drop="before_commit")
    reference = str(uuid4())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await merchant.collect(reference=reference)
    assert (await merchant.status(reference)).status == 404
    assert (await world.book())["prompts"] == []
    await world.faults(drop=None)
    assert (await merchant.collect(reference=reference)).status == 202


async def test_a_drop_after_the_commit_takes_the_money_and_loses_the_answer(world, merchant):
    await world.faults(drop="after_commit")
    reference = str(uuid4())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await merchant.collect(reference=reference)
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"
    await world.faults(drop=None)
    assert (await merchant.collect(reference=reference)).status == 409
    assert [debit["reference"] for debit in (await world.book())["debits"]] == [reference]


async def test_a_drop_rate_of_zero_drops_nothing(world, merchant):
    await world.faults(drop="before_commit", drop_rate=0.0)
    assert (await merchant.collect()).status == 202


async def test_a_rail_that_is_down_refuses_connections_until_it_is_up_again(world, merchant):
    await world.faults(down=True)
    with pytest.raises(aiohttp.ClientConnectorError):
        await merchant.collect()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(world.session, "POST", f"{world.url}/mtn_momo/collection/token/")
    assert (await world.book())["requests"] == 0
    await world.faults(down=False)
    assert (await merchant.collect()).status == 202
    await world.faults(down=True)
    await world.control("DELETE", "mtn_momo/faults")
    assert (await merchant.collect()).status == 202


async def test_going_down_cuts_the_requests_that_are_being_served(world, merchant, ear):
    await world.faults(callbacks="early")
    ear.may_answer.clear()
    waiting = asyncio.create_task(merchant.collect(callback=f"{ear.url}/hook"))
    await ear.next()
    await world.faults(down=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await waiting
    ear.may_answer.set()
    assert len((await world.book())["debits"]) == 1


async def test_a_rail_that_is_down_is_down_after_a_restart_too(world, merchant):
    await world.faults(down=True)
    await world.sleep_through(1)
    with pytest.raises(aiohttp.ClientConnectorError):
        await merchant.collect()
    await world.faults(down=False)
    assert (await merchant.collect()).status == 202


async def test_a_rail_is_served_on_the_main_port_too(world, merchant):
    merchant.base_url = f"{world.url}/mtn_momo"
    reference = str(uuid4())
    assert (await merchant.collect(reference=reference)).status == 202
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"


# Callbacks.


async def test_a_callback_repeats_the_status_and_does_not_name_the_reference(world, merchant, ear):
    reference = str(uuid4())
    await merchant.collect(reference=reference, callback=f"{ear.url}/hook/1")
    heard = await ear.next()
    assert (heard["method"], heard["path"]) == ("PUT", "/hook/1")
    assert heard["body"] == (await merchant.status(reference)).body
    assert heard["body"]["status"] == "SUCCESSFUL"
    assert "X-Reference-Id" not in heard["headers"]
    assert reference not in str(heard["body"])


async def test_a_failure_is_called_back_with_its_reason(world, merchant, ear):
    await merchant.collect("233240000451", callback=f"{ear.url}/hook")
    body = (await ear.next())["body"]
    assert (body["status"], body["reason"]) == ("FAILED", "APPROVAL_REJECTED")


async def test_callbacks_can_be_posts_and_the_old_deposit_always_is(world, merchant, ear):
    deposit = merchant.body(party="payee")
    await merchant.send("/disbursement/v1_0/deposit", deposit, callback=f"{ear.url}/1")
    assert (await ear.next())["method"] == "POST"
    await merchant.send("/disbursement/v2_0/deposit", deposit, callback=f"{ear.url}/2")
    assert (await ear.next())["method"] == "PUT"
    await world.settings(callback_method="POST")
    await merchant.collect(callback=f"{ear.url}/3")
    assert (await ear.next())["method"] == "POST"


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("", 400, "BAD_REQUEST"),
        ("localhost/hook", 400, "BAD_REQUEST"),
        ("ftp://localhost/hook", 400, "BAD_REQUEST"),
        ("http://[/hook", 400, "BAD_REQUEST"),
        ("http://elsewhere.example/hook", 500, "INVALID_CALLBACK_URL_HOST"),
        ("http://10.0.0.1/hook", 500, "INVALID_CALLBACK_URL_HOST"),
    ],
)
async def test_a_callback_goes_to_the_registered_host_only(world, merchant, url, status, code):
    answer = await merchant.collect(callback=url)
    assert (answer.status, answer.code) == (status, code)
    assert (await world.book())["prompts"] == []


async def test_a_lost_callback_never_comes(world, merchant, ear):
    await world.faults(callbacks="lost")
    await merchant.collect(callback=f"{ear.url}/lost")
    await world.faults(callbacks="normal")
    await merchant.collect(callback=f"{ear.url}/next")
    assert (await ear.next())["path"] == "/next"
    assert len((await world.book())["debits"]) == 2


async def test_a_duplicate_callback_comes_twice(world, merchant, ear):
    await world.faults(callbacks="duplicate")
    await merchant.collect(callback=f"{ear.url}/hook")
    assert await ear.next() == await ear.next()
    assert len((await world.book())["debits"]) == 1


async def test_an_early_callback_comes_before_the_answer(world, merchant, ear):
    await world.faults(callbacks="early", approve_after_ms=60_000)
    answer = await merchant.collect(callback=f"{ear.url}/hook")
    assert answer.status == 202
    assert [heard["body"]["status"] for heard in ear.history] == ["SUCCESSFUL"]
    assert len((await world.book())["debits"]) == 1


async def test_a_late_callback_comes_five_seconds_after_the_end(world, merchant, ear):
    await world.faults(callbacks="late")
    reference = str(uuid4())
    await merchant.collect(reference=reference, callback=f"{ear.url}/hook")
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"
    await world.stop()
    assert ear.history == []
    world.now += 5
    await world.start()
    assert (await ear.next())["body"]["status"] == "SUCCESSFUL"


async def test_a_forged_callback_says_success_while_the_book_has_no_debit(world, merchant, ear):
    await world.faults(callbacks="forged")
    await merchant.collect("233240000453", callback=f"{ear.url}/ongoing")
    assert (await ear.next())["body"]["status"] == "SUCCESSFUL"
    await merchant.collect("233240000451", callback=f"{ear.url}/rejected")
    for _ in range(2):
        heard = await ear.next()
        assert (heard["path"], heard["body"]["status"]) == ("/rejected", "SUCCESSFUL")
        assert "reason" not in heard["body"]
    assert (await world.book())["debits"] == []


async def test_nobody_listening_for_a_callback_disturbs_nothing(world, merchant):
    assert (await merchant.collect(callback="http://localhost:1/hook")).status == 202
    assert len((await world.book())["debits"]) == 1


# The script.


async def collect_scripted(world, merchant, **step):
    await world.script(step)
    reference = str(uuid4())
    try:
        answer = await merchant.collect(reference=reference)
    except aiohttp.ServerDisconnectedError:
        answer = None
    return reference, answer


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize(
    ("said", "status", "content"),
    [
        ("http_500", 500, ""),
        ("http_503", 503, "SERVICE_UNAVAILABLE"),
        ("http_429", 429, "Rate limit"),
        ("html_403", 403, "Request Rejected"),
        ("maintenance_200", 200, "upgrading"),
        ("drop", None, ""),
    ],
)
async def test_any_answer_can_hide_a_booked_or_an_unbooked_request(
    world, merchant, said, status, content, commit
):
    reference, answer = await collect_scripted(world, merchant, answer=said, commit=commit)
    assert (answer and answer.status) == status
    assert answer is None or content in str(answer.body)
    assert [debit["reference"] for debit in (await world.book())["debits"]] == ([reference] if commit else [])


async def test_an_accepted_request_can_be_invisible_for_a_while(world, merchant):
    reference, answer = await collect_scripted(world, merchant, visible_after_ms=2000)
    assert answer.status == 202
    assert (await merchant.status(reference)).status == 404
    assert (await merchant.collect(reference=reference)).status == 409
    world.now += 2
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"


async def test_a_payment_can_succeed_after_it_expired(world, merchant):
    reference, _ = await collect_scripted(world, merchant, end="EXPIRED", then_success_after_ms=60_000)
    assert (await merchant.status(reference)).body["reason"] == "EXPIRED"
    assert (await world.book())["debits"] == []
    await world.sleep_through(60)
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"
    assert [debit["reference"] for debit in (await world.book())["debits"]] == [reference]


@pytest.mark.parametrize(
    ("end", "msisdn", "status"),
    [
        ("NOT_ENOUGH_FUNDS", PAYER, "FAILED"),
        ("NEVER", PAYER, "PENDING"),
        ("SUCCESSFUL", "233240000451", "SUCCESSFUL"),
    ],
)
async def test_the_script_decides_the_end_before_the_number_does(world, merchant, end, msisdn, status):
    await world.script({"end": end})
    reference = str(uuid4())
    await merchant.collect(msisdn, reference=reference)
    assert (await merchant.status(reference)).body["status"] == status


async def test_steps_are_used_one_by_one_and_only_for_their_kind_of_request(world, merchant):
    await world.script(
        {"on": "inquiry", "answer": "maintenance_200"}, {"answer": "http_503"}, {"answer": "http_500"}
    )
    assert [(await merchant.collect()).status for _ in range(3)] == [503, 500, 202]
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    assert "upgrading" in (await merchant.status(reference)).body
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"
    assert (await world.control("GET", "mtn_momo/script")).body == {"next": []}


async def test_a_step_goes_before_the_standing_faults_and_can_be_taken_back(world, merchant):
    await world.faults(error_rate=1.0)
    await world.script({}, {})
    assert (await merchant.collect()).status == 202
    await world.control("DELETE", "mtn_momo/script")
    assert (await merchant.collect()).status == 500


@pytest.mark.parametrize(
    "step", [{"answer": "shrug"}, {"end": "because"}, {"visible_after_ms": -1}, {"nothing": 1}]
)
async def test_a_step_that_means_nothing_is_refused(world, step):
    answer = await world.control("PUT", "mtn_momo/script", {"next": [step]})
    assert answer.status == 422
    assert answer.body["errors"][0]["field"] == "next"


@pytest.mark.parametrize(
    ("resource", "body", "field"),
    [
        ("settings", {"platform": "old"}, "platform"),
        ("settings", {"colour": "red"}, "colour"),
        ("credentials", {"api_user": "x"}, "credentials"),
    ],
)
async def test_a_rails_own_settings_are_checked_too(world, resource, body, field):
    answer = await world.control("PUT", f"mtn_momo/{resource}", body)
    assert (answer.status, answer.body["errors"][0]["field"]) == (422, field)


async def test_a_reset_empties_books_and_faults_and_leaves_credentials(world, merchant, ear):
    await world.faults(approve_after_ms=30_000, error_rate=0.0)
    await world.settings(callback_method="POST")
    reference = str(uuid4())
    await merchant.collect(reference=reference, callback=f"{ear.url}/pending")
    await world.script({"answer": "http_503"})
    await world.faults(down=True)
    assert (await world.control("POST", "reset")).body == {"reset": list(world.sandbox.rail_urls)}
    assert await world.book() == {"debits": [], "credits": [], "prompts": [], "requests": 0, "faults": {}}
    assert (await world.control("GET", "mtn_momo/faults")).body == DEFAULTS
    await world.sleep_through(60)
    await world.faults(approve_after_ms=0)
    assert (await merchant.collect(reference=reference, callback=f"{ear.url}/again")).status == 202
    heard = await ear.next()
    assert (heard["method"], heard["path"]) == ("PUT", "/again")
    assert len((await world.book())["debits"]) == 1
