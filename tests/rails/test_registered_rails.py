"""A rail is routed, simulated, drilled, reconciled and documented because it is in the registry."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import rails_page
from drill import script
from rails.rail_contract import RailContract
from synccash.administration.maintenance.reconciling import ReconciliationRequest, statement_format
from synccash.administration.routes import dry_run
from synccash.drill import rails as drill_rails
from synccash.drill.trouble import missed
from synccash.engine.dispatch.router import RoutingQuery
from synccash.payments.payer import Network
from synccash.payments.rail import Operation
from synccash.rails.registry import RAILS
from synccash.rails.sandbox_account import SandboxRail
from synccash.sandbox.registry import WIRES
from synccash.settings.loader import FIELDS, RAILS_WITH_SETTINGS, Settings, convert_settings, former_keys

ROOT = Path(__file__).parents[2]
SANDBOX_RAIL = SandboxRail(
    url="http://localhost:1", user="00000000-0000-4000-8000-000000000000", key="0" * 32, callbacks="http://x"
)


def settings_of(*rails: str) -> Settings:
    given: dict[str, str] = {}
    for rail in rails:
        given |= RAILS[rail].sandbox_account(SANDBOX_RAIL).settings
    return convert_settings(given)


def route(settings: Settings, **changes):
    query = {
        "network": Network.MTN,
        "operation": Operation.COLLECT,
        "amount": 2_500,
        "merchant_id": "mer_1",
        "key": "order-1",
        "livemode": False,
    }
    asked = RoutingQuery(**query | changes)
    return dry_run(settings, asked, scores={}, open_rails=frozenset(), is_mode_given=True)


def test_each_rail_has_its_settings_in_the_order_of_the_registry():
    assert tuple(RAILS) == RAILS_WITH_SETTINGS
    for rail in RAILS:
        assert former_keys(rail), f"no former credentials of {rail} can be kept"
        assert former_keys(rail).keys() | set(former_keys(rail).values()) <= FIELDS.keys()


def test_the_sandbox_simulates_each_rail_in_the_order_of_the_registry():
    assert list(WIRES) == list(RAILS)


@pytest.mark.parametrize("rail", RAILS)
def test_an_account_at_the_sandbox_sets_up_its_own_rail_alone(rail):
    account = RAILS[rail].sandbox_account(SANDBOX_RAIL)
    assert all(key.startswith(f"{rail}_") for key in account.settings)
    assert [one["rail"] for one in route(settings_of(rail))["considered"]] == [rail]


def test_each_rail_is_routed_and_equal_ones_are_tried_in_the_order_of_the_registry():
    settings = settings_of(*RAILS)
    assert [one["rail"] for one in route(settings)["considered"]] == list(RAILS)
    assert [route(settings, pinned=rail)["chosen"] for rail in RAILS] == list(RAILS)


def test_each_rail_is_drilled():
    assert tuple(RAILS) == drill_rails.RAILS
    lines = missed(["http_500"], {}, {})
    assert [next(rail for rail in RAILS if f" {rail} " in line) for line in lines] == list(RAILS)
    assert tuple(RAILS) == script.RAILS
    assert script.ENDS.keys() == RAILS.keys()


@pytest.mark.parametrize("rail", RAILS)
def test_a_statement_of_each_rail_can_be_read(rail):
    shape = statement_format(settings_of(rail), ReconciliationRequest(file=Path("x.csv"), rail=rail))
    assert shape.layout is RAILS[rail].statement
    assert shape.layout.reference
    assert shape.currency == "GHS"


def test_the_docs_have_a_row_for_each_rail():
    text = rails_page.PAGE.read_text(encoding="utf-8")
    for rail in RAILS.values():
        assert f"| `{rail.name}` | {rail.provider} |" in text


@pytest.mark.parametrize("rail", RAILS)
def test_each_rail_is_held_to_the_contract(rail):
    module = importlib.import_module(f"rails.test_{rail}_contract")
    assert any(
        isinstance(held, type) and issubclass(held, RailContract) and held is not RailContract
        for held in vars(module).values()
    )


SECOND_LISTS = {
    "tests/upgrade/make_dump.py": "runs on the code of a release that has no registry",
}


def lists_of_rails(source: str) -> Iterator[int]:
    """Yield the line of each literal that names every rail and nothing else."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            named = {one.value for one in node.elts if isinstance(one, ast.Constant)}
            if len(named) == len(node.elts) and named >= RAILS.keys():
                yield node.lineno


def test_no_module_lists_the_rails_a_second_time():
    found = {
        str(path.relative_to(ROOT)): lines
        for folder in ("src", "tests", "bench")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (lines := list(lists_of_rails(path.read_text(encoding="utf-8"))))
    }
    # With a rail more, the list of the old release names no longer all of them.
    assert found.keys() <= SECOND_LISTS.keys(), found


def test_a_second_list_of_rails_would_be_found():
    assert list(lists_of_rails(f"x = 1\nRAILS = {list(RAILS)!r}")) == [2]
    assert list(lists_of_rails(f"SOME = {list(RAILS)[1:]!r}")) == []
