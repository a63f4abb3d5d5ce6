"""Other routing rules are tried on recorded orders: who would move, from where to where, at which cost."""

import pytest

from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Environment, Operation, OperationCapability
from synccash.payments.routing import Candidate, choose
from synccash.payments.routing_replay import RecordedOrder, replay_routing
from synccash.payments.routing_rules import NO_RULES, read_rules

ABLE = OperationCapability(dedup_by_reference=True)
ALL = Capabilities(networks=frozenset(Network), operations={Operation.COLLECT: ABLE, Operation.PAYOUT: ABLE})
RAILS = {"mtn_momo": ALL, "paystack": ALL, "hubtel": ALL}


def rules(**texts):
    return read_rules(RAILS, **texts)


def recorded(id_="pay_1", chosen="mtn_momo", *, scores=None, skipped=(), reason="best_score", **more):
    scores = scores or dict.fromkeys((rail for rail in RAILS if rail not in skipped), 1.0)
    considered = [{"rail": rail, "score": score} for rail, score in scores.items()]
    considered += [{"rail": rail, "score": 0.0, "skipped": "breaker_open"} for rail in skipped]
    given = {
        "merchant_id": "mer_1",
        "livemode": False,
        "operation": Operation.COLLECT,
        "network": Network.MTN,
        "amount": 10_000,
        "pinned_rail": None,
    }
    routing = {"chosen": chosen, "considered": considered, "reason": reason}
    return RecordedOrder(id=id_, routing=routing, **{**given, **more})


def replayed(orders, new, former=NO_RULES):
    return replay_routing(orders, RAILS, former=former, new=new, unhealthy_below=0.9)


def test_the_rules_in_force_move_nothing():
    former = rules(preferences="*: hubtel > mtn_momo", costs="paystack: 1.95%", splits="payout: hubtel 100")
    for operation in (Operation.COLLECT, Operation.PAYOUT):
        preferences = former.preferences_for("mer_1", Network.MTN, operation)
        candidates = [Candidate(rail, ALL, environment=Environment.TEST) for rail in RAILS]
        route = choose(
            candidates,
            network=Network.MTN,
            operation=operation,
            amount=10_000,
            key="pay_1",
            preferences=preferences,
        )
        order = recorded(
            chosen=route.chosen,
            scores={one["rail"]: one["score"] for one in route.considered},
            operation=operation,
        )
        assert replayed([order], former, former).moved == 0


def test_a_new_preference_moves_orders_and_says_from_where_to_where():
    found = replayed(
        [recorded("pay_1"), recorded("pay_2", "paystack"), recorded("pay_3", "hubtel")],
        rules(preferences="*: hubtel > paystack"),
    )
    assert (found.orders, found.moved) == (3, 2)
    assert {(move.former, move.new, move.orders, move.amount) for move in found.moves} == {
        ("mtn_momo", "hubtel", 1, 10_000),
        ("paystack", "hubtel", 1, 10_000),
    }


def test_costs_are_those_of_the_new_rules_for_both_choices():
    found = replayed(
        [recorded("pay_1"), recorded("pay_2")],
        rules(costs="mtn_momo: 2%; paystack: 1% + 50; hubtel: 3%"),
    )
    assert [(move.former, move.new) for move in found.moves] == [("mtn_momo", "paystack")]
    assert (found.cost_used, found.cost_new) == (400.0, 300.0)


def test_a_rail_that_was_not_available_gets_no_order():
    found = replayed([recorded(skipped=("hubtel",))], rules(preferences="*: hubtel > paystack"))
    assert [move.new for move in found.moves] == ["paystack"]


def test_the_health_of_the_time_counts_without_the_rules_of_the_time():
    former = rules(preferences="*: mtn_momo > paystack > hubtel", preference_step=0.1)
    # The scores of rails of which hubtel was not healthy: 1.0, 1.0 and 0.5, less 0, 0.1 and 0.2.
    order = recorded(scores={"mtn_momo": 1.0, "paystack": 0.9, "hubtel": 0.3})
    found = replayed([order], rules(preferences="*: hubtel > paystack > mtn_momo"), former)
    assert [move.new for move in found.moves] == ["paystack"]
    split = replayed([order], rules(splits="*: hubtel 100"), former)
    assert split.moved == 0, "a rail that is unhealthy gets no share"


def test_a_split_moves_its_share():
    orders = [recorded(f"pay_{n}") for n in range(400)]
    found = replayed(orders, rules(splits="*: mtn_momo 75, paystack 25"))
    assert [move.new for move in found.moves] == ["paystack"]
    assert 60 <= found.moved <= 140


@pytest.mark.parametrize("kept", [{"pinned_rail": "mtn_momo"}, {"reason": "recovery_probe"}])
def test_orders_that_no_rule_decides_stay(kept):
    assert replayed([recorded(**kept)], rules(preferences="*: hubtel")).moved == 0


def test_orders_without_a_rail_are_told_apart_and_removed_rails_get_none():
    gone = recorded("pay_2", "expay", scores={"expay": 1.0, "paystack": 0.9})
    found = replayed([recorded(chosen=None), gone], NO_RULES)
    assert (found.orders, found.unrouted) == (1, 1)
    assert [(move.former, move.new) for move in found.moves] == [("expay", "paystack")]
