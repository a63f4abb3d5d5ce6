"""`synccash balances` and `synccash merchants suspend`, as they are typed, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from service.test_rail_accounts import SHELL
from synccash import cli
from synccash.local.preparing import MERCHANT_ID, confirm_test_accounts, register
from synccash.payments.balance import BY_MIGRATION, BalanceAccount, credit_source, read_fees
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("SYNCCASH_DATABASE_URL", database_url)
    monkeypatch.setenv("SYNCCASH_BREAK_GLASS", "true")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run


@pytest.fixture
def merchant(typed: Typed) -> str:
    return json.loads(typed("merchants", "add", "Makola", "--json")[1])["id"]


def on_database(url: str, work: Callable[[Database], Any]) -> Any:
    async def run() -> Any:
        pool = await connect(url, min_size=1, max_size=1)
        try:
            return await work(Database(pool))
        finally:
            await pool.close()

    return asyncio.run(run())


def test_credit_is_granted_once_per_key_and_recorded_with_its_reason(
    typed: Typed, merchant: str, database_url: str
):
    words = ("balances", "credit", merchant, "2500", "--test", "--reason", "prefunded", "--key", "june")
    for granted in (2500, 0):
        code, printed = typed(*words, "--json")
        told = json.loads(printed)
        assert (code, told["granted"], told["available"], told["credit"]) == (0, granted, 2500, 2500)
    code, printed = typed("balances", "credit", merchant, "-500", "--test", "--reason", "returned")
    assert code == 0
    assert "20.00" in printed
    code, printed = typed("balances", "credit", merchant, "1", "--test", "--reason", "x", "--key", "june")
    assert (code, "used for a credit of 2500" in printed) == (1, True), printed
    code, printed = typed("balances", merchant, "--json")
    assert [(one["livemode"], one["available"]) for one in json.loads(printed)["data"]] == [(False, 2000)]
    assert "20.00" in typed("balances", merchant)[1]
    [last] = on_database(database_url, lambda base: PostgresAudit(base).latest(1))
    assert (last.action, last.target, last.reason) == (
        "balance_credit",
        f"{merchant} test GHS -500",
        "break_glass: returned",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("credit", "MERCHANT", "0", "--test", "--reason", "x"), "AMOUNT"),
        (("credit", "MERCHANT", "5", "--test", "--reason", " "), "--reason"),
        (("credit", "MERCHANT", "5", "--test", "--reason", "x", "--currency", "ghs"), "--currency"),
        (
            ("confirm", "MERCHANT", "--credit", "5", "--live", "--reason", "x", "--currency", "USD"),
            "--currency",
        ),
        (("check", "mer_nobody"), "merchants list"),
        (("credit", "mer_nobody", "5", "--test", "--reason", "x"), "merchants list"),
        (("confirm", "MERCHANT", "--credit", "5", "--live", "--reason", "x"), "no unconfirmed credit"),
        (("mer_nobody",), "merchants list"),
    ],
)
def test_a_refused_credit_says_why(typed: Typed, merchant: str, words: tuple[str, ...], told: str):
    code, printed = typed("balances", *(word.replace("MERCHANT", merchant) for word in words))
    assert (code, told in printed) == (1, True), printed


def test_a_credit_requires_an_explicit_mode(typed: Typed, merchant: str):
    code, printed = typed("balances", "credit", merchant, "5", "--reason", "x")
    assert (code, "--live or --test" in printed) == (1, True)


def test_the_operators_credit_replaces_the_credit_of_an_upgrade(
    typed: Typed, merchant: str, database_url: str
):
    account = BalanceAccount(merchant_id=merchant, livemode=True, currency="GHS")

    def upgraded(base: Database) -> Any:
        return PostgresBalances(base).grant(account, 10**12, credit_source(BY_MIGRATION, account))

    on_database(database_url, upgraded)
    words = ("balances", "confirm", merchant, "--credit", "7000", "--live", "--reason", "our contract")
    code, printed = typed(*words, "--json")
    assert (code, json.loads(printed)["credit"]) == (0, 7000)
    code, printed = typed(*words)
    assert (code, "no unconfirmed credit" in printed) == (1, True), printed


def test_a_check_names_balances_that_differ_from_the_books(typed: Typed, merchant: str, database_url: str):
    typed("balances", "credit", merchant, "500", "--test", "--reason", "prefunded")
    assert typed("balances", "check") == (0, "All balances agree with the orders in the database.\n")
    entry = """
        INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
        VALUES ($1, false, 'GHS', 'collected', 700, 'pay_of_nobody')
    """
    on_database(database_url, lambda base: base.repeat(entry, merchant))
    code, printed = typed("balances", "check", merchant, "--json")
    (told,) = json.loads(printed)["data"]
    assert (code, told["source"], told["kind"], told["expected"], told["found"]) == (
        1,
        "pay_of_nobody",
        "collected",
        0,
        700,
    )
    assert typed("balances", "check")[0] == 1


def test_a_check_names_checkpoints_that_differ_from_the_sum_of_their_entries(
    typed: Typed, merchant: str, database_url: str
):
    async def folded(base: Database) -> None:
        for _ in range(3):
            await PostgresBalances(base).fold()

    typed("balances", "credit", merchant, "500", "--test", "--reason", "prefunded")
    on_database(database_url, folded)
    assert typed("balances", "check", merchant)[0] == 0
    on_database(database_url, lambda base: base.repeat("UPDATE balance_checkpoints SET amount = amount + 1"))
    code, printed = typed("balances", "check")
    assert (code, "checkpoint" in printed, "5.01" in printed) == (1, True, True)


def test_a_merchant_is_suspended_with_a_reason_until_it_is_resumed(
    typed: Typed, merchant: str, database_url: str
):
    assert typed("merchants", "suspend", merchant, "--reason", "a stolen key")[0] == 0
    (one,) = (m for m in json.loads(typed("merchants", "list", "--json")[1])["data"] if m["id"] == merchant)
    assert one["suspended_for"] == "a stolen key"
    assert one["suspended_since"][:19] in typed("merchants", "list")[1]
    assert typed("merchants", "resume", merchant, "--reason", "a new key")[0] == 0
    code, printed = typed("merchants", "resume", merchant, "--reason", "again")
    assert (code, "is not a suspended merchant" in printed) == (1, True), printed
    code, printed = typed("merchants", "suspend", "mer_nobody", "--reason", "x")
    assert (code, "No merchant has the id mer_nobody" in printed) == (1, True), printed
    deeds = on_database(database_url, lambda base: PostgresAudit(base).latest(4))
    # A resume that found nothing to do was rolled back with its entry.
    assert [deed.action for deed in deeds if deed.target == merchant] == [
        "merchant_resume",
        "merchant_suspend",
        "merchant_add",
    ]


def test_credits_granted_and_confirmed_by_up_are_in_the_audit_log_once(database_url: str):
    account = BalanceAccount(merchant_id=MERCHANT_ID, livemode=False, currency="GHS")
    on_database(
        database_url,
        lambda base: PostgresBalances(base).grant(account, 10**12, credit_source(BY_MIGRATION, account)),
    )
    keys = {"test": "sk_test_x", "admin": "sk_admin_x"}
    for _ in range(2):
        asyncio.run(register(database_url, keys))
        asyncio.run(confirm_test_accounts(database_url, SHELL))
    deeds = on_database(database_url, lambda base: PostgresAudit(base).latest(9))
    assert [(deed.actor, deed.action) for deed in reversed(deeds)] == [
        ("synccash up", "balance_confirm"),
        ("synccash up", "balance_credit"),
        ("synccash up", "rail_confirm"),
    ]


def test_fees_are_read_by_rail_and_operation():
    assert read_fees("mtn_momo:collect=100, paystack:payout=50,hubtel:refund=0") == {
        ("mtn_momo", "collect"): 100,
        ("paystack", "payout"): 50,
    }
    for text in ("mtn_momo=5", "mtn_momo:sell=5", "mtn_momo:payout=-1", "a:payout=1,a:payout=2", ":payout=1"):
        with pytest.raises(ValueError, match=":"):
            read_fees(text)
