"""Every connector x every fault: the book shows at most one debit, and the order ends as the book says."""

import asyncio
from dataclasses import dataclass

import pytest

from drill.runs import database
from matrix.codes import ENDS, EXPIRED, KNOWN_5XX, REFUSALS, SAID
from matrix.faults import FAULTS, NOT_OURS
from matrix.row import row_of
from sim.mutants import MUTANTS, broken
from synccash.engine.system import SystemClock
from synccash.payments.rail import Operation
from synccash.rails.http.transport import Transport
from synccash.rails.hubtel import answers as hubtel_answers
from synccash.rails.mtn_momo import answers as mtn_momo_answers
from synccash.rails.pawapay import answers as pawapay_answers
from synccash.rails.paystack import answers as paystack_answers
from synccash.rails.registry import RAILS, build_rails
from synccash.rails.sandbox_account import SandboxRail
from synccash.sandbox.faults import Answer, Callbacks
from synccash.sandbox.paystack.tables import REASONS
from synccash.settings.loader import convert_settings

pytestmark = pytest.mark.slow


def connectors():
    """Each connector, with an account at the sandbox."""
    url = "http://localhost:1"
    sandbox_rail = SandboxRail(url=url, user="u", key="k" * 32, callbacks=url)
    accounts = [rail.sandbox_account(sandbox_rail) for rail in RAILS.values()]
    given = {name: value for account in accounts for name, value in account.settings.items()}
    return build_rails(convert_settings(given), Transport(), SystemClock())


ROWS = {
    (rail, operation): able
    for rail, connector in connectors().items()
    for operation, able in connector.capabilities.operations.items()
}


@dataclass(frozen=True)
class Known:
    """The codes of a connector's own tables, for one operation."""

    refusals: set[str]
    ends: set[str]


def _of_mtn(operation):
    reasons = set(mtn_momo_answers.REASONS[operation])
    return Known(reasons | {"BAD_REQUEST"} | mtn_momo_answers.STILL_GOING, reasons)


def _of_paystack(operation):
    # Its reasons are patterns over sentences: each needs one code of the sandbox whose words it reads.
    if operation is Operation.COLLECT:
        for pattern, _ in paystack_answers.REASONS:
            assert any(pattern.search(words(code)) for code in ENDS["paystack", operation]), pattern
    return Known(set(paystack_answers.CODES), set())


def words(code):
    return REASONS.get(code, code)


def _of_hubtel(operation):
    return Known(set(hubtel_answers.CODES[operation]), set())


def _of_pawapay(operation):
    return Known(set(pawapay_answers.REFUSALS), set(pawapay_answers.REASONS[operation]))


KNOWN = {"mtn_momo": _of_mtn, "paystack": _of_paystack, "hubtel": _of_hubtel, "pawapay": _of_pawapay}


@pytest.fixture
def play(servers, migrated_template, tmp_path):
    async def play(rail, operation):
        async with (
            database(servers.database_url, migrated_template) as url,
            row_of(rail, operation, url, tmp_path / operation.value) as row,
        ):
            return await row.play()

    return play


@pytest.mark.parametrize("rail", RAILS)
async def test_each_order_ends_as_the_book_says(play, rail):
    async with asyncio.TaskGroup() as group:
        rows = [group.create_task(play(*row)) for row in ROWS if row[0] == rail]
    wrong = {cell: why for row in rows for cell, why in row.result().items()}
    if wrong:
        lines = [f"{cell}\n    {why}" for cell, why in wrong.items()]
        pytest.fail(f"{len(wrong)} cells went wrong:\n" + "\n".join(lines), pytrace=False)


async def test_an_engine_that_breaks_a_rule_is_caught(play, monkeypatch):
    # The order never ends, and nobody has to wait for it as long as for a slow machine.
    monkeypatch.setattr("matrix.row._TIMEOUT_S", 8.0)
    with broken(*MUTANTS["silence counts as not sent"]):
        wrong = await play("hubtel", Operation.PAYOUT)
    assert wrong["hubtel payout: drop after commit"]


def test_every_operation_of_every_connector_has_its_row():
    assert set(ROWS) <= set(ENDS) == set(REFUSALS)
    assert {rail for rail, _ in ROWS} == set(RAILS) == set(SAID) == set(KNOWN_5XX) == set(EXPIRED)


@pytest.mark.parametrize(("rail", "operation"), ROWS)
def test_every_code_that_a_connector_knows_has_its_cell(rail, operation):
    known = KNOWN[rail](operation)

    assert known.refusals <= set(REFUSALS[rail, operation])
    assert known.ends <= set(ENDS[rail, operation])


def test_every_fault_of_the_sandbox_is_in_a_cell():
    steps = [fault.step for fault in FAULTS.values()]
    status_at_rail = [fault.status_at_rail for fault in FAULTS.values()]

    assert {step.get("answer", "normal") for step in steps} == {answer.value for answer in Answer}
    assert {one.get("callbacks", "normal") for one in status_at_rail} == {mode.value for mode in Callbacks}


def test_a_cell_that_does_not_exist_says_why_and_belongs_to_a_row_and_a_fault():
    for (rail, operation, fault), why in NOT_OURS.items():
        assert fault in FAULTS
        assert any(operation is row[1] and rail in ("*", row[0]) for row in ROWS)
        assert why
