"""docs/adding-a-rail.md, followed step by step for a toy: it keeps the contract, and money goes over it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rails.rail_contract import Bench, RailContract
from rails.toy.answers import STATES, judge_send, judge_status
from rails.toy.connector import Toy, ToySettings
from rails.toy.sandbox import Toy as ToyWire
from service.in_process import running_service
from service.installation import call, wait_until
from synccash.engine.ports import Rail
from synccash.payments.rail import RailStatus
from synccash.rails.http.transport import Exchange, Transport
from synccash.rails.registration import RegisteredRail
from synccash.rails.registry import RAILS
from synccash.rails.sandbox_account import SandboxAccount, SandboxRail
from synccash.rails.statements import StatementLayout
from synccash.resilience.evidence import Evidence
from synccash.sandbox.registry import WIRES
from synccash.settings.secret import Secret

KEY = "a-secret-key-of-the-toy"
TOY = Path(__file__).parent / "toy"


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 5: the line in `sandbox/registry.py`."""
    monkeypatch.setitem(WIRES, "toy", ToyWire)


class ToyBench(Bench):
    """Step 6."""

    rail_id = "toy"
    ends: Mapping[str, RailStatus] = MappingProxyType(
        dict.fromkeys(["NO_FUNDS", "REFUSED", "SOMETHING_NEW"], RailStatus.FAILED)
    )

    @classmethod
    async def on(cls, world, transport):
        answer = await world.control("PUT", "toy/settings", {"key": KEY})
        assert answer.status == 200, answer.body
        return cls(
            world,
            Toy(ToySettings(base_url=world.sandbox.rail_urls["toy"], key=Secret(KEY)), transport),
            transport,
        )

    def connector_at(self, base_url):
        return Toy(ToySettings(base_url=base_url, key=Secret(KEY)), self.transport)


class TestTheToyKeepsTheContract(RailContract):
    @pytest.fixture
    async def bench(self, world, transport):
        return await ToyBench.on(world, transport)


WORDS = ["TAKEN", "BUSY", "OK", "UNKNOWN", "WAITING", "PAID", "FAILED", "NO_FUNDS", "ours", "25.05", "x", ""]
VALUES = st.sampled_from([*WORDS, None, True, -1, 25.05, 10**18, [], {}, ["PAID"], {"code": "PAID"}])
ANSWERS = st.fixed_dictionaries(
    {"reference": st.sampled_from(["ours", "theirs"]), "state": st.sampled_from(sorted(STATES)) | VALUES},
    optional=dict.fromkeys(("code", "reason", "amount"), VALUES),
)


@settings(max_examples=200, deadline=None)
@given(status=st.integers(200, 599), told=ANSWERS)
def test_no_answer_raises_or_claims_more_than_the_toy_s_own_word(status, told):
    """Step 7."""
    answer = Exchange(status=status, headers={}, body=msgspec.json.encode(told), latency_s=0.1)
    assert told.get("code") in ("TAKEN", "BUSY") or judge_send(answer).evidence is Evidence.AMBIGUOUS
    status_at_rail = judge_status(answer, "ours")
    assert told.get("reference") == "ours" or status_at_rail.status_at_rail is RailStatus.NO_INFORMATION
    assert (status_at_rail.failure is None) == (status_at_rail.status_at_rail is not RailStatus.FAILED)


def test_a_payment_goes_over_the_toy_from_the_api_to_the_book(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Steps 3 and 4: a registration, and nothing else. The toy has no settings: its account is kept here."""
    accounts: list[ToySettings] = []

    def sandbox_account(sandbox_rail: SandboxRail) -> SandboxAccount:
        accounts.append(ToySettings(base_url=sandbox_rail.url, key=Secret(sandbox_rail.key)))
        return SandboxAccount(settings={}, control={"settings": {"key": sandbox_rail.key}})

    toy = RegisteredRail(
        name="toy",
        provider="Toy",
        build=lambda _settings, transport, _clock, _inquirers: Toy(accounts[0], transport),
        statement=StatementLayout(reference=("reference",)),
        sandbox_account=sandbox_account,
    )
    monkeypatch.setitem(RAILS, "toy", toy)
    with running_service(database_url, tmp_path) as service:
        body = {
            "amount": 2505,
            "currency": "GHS",
            "payer": {"msisdn": "0241234567"},
            "reference": "order 1",
            "rail": "toy",
        }
        headers = {"Authorization": f"Bearer {service.key}", "Idempotency-Key": "order-1"}
        url = f"{service.url}/api/v1/payments"
        payment = call("POST", url, body, **headers).body
        assert (payment["status"], payment["rail"]) == ("processing", "toy")

        def ended():
            now = call("GET", f"{url}/{payment['id']}", **headers).body
            return now if now["status"] == "succeeded" else None

        payment = wait_until("the payment ends", ended)
        debits = service.booked("debits", "toy")
    assert [(debit["reference"], debit["amount"]) for debit in debits] == [
        (payment["attempts"][0]["reference"], 2505)
    ]


def test_copies_of_the_toy_s_files_pass_the_rules_of_src():
    check = ("-m", "ruff", "check", "--isolated", "--line-length=110", "--select=ARG,ANN,E,F,S,FBT")
    done = subprocess.run(
        [sys.executable, *check, str(TOY)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_the_toy_is_what_the_engine_asks_of_a_rail():
    rail: Rail = Toy(ToySettings(base_url="http://toy", key=Secret(KEY)), Transport())
    assert (rail.name, KEY in repr(rail)) == ("toy", False)
