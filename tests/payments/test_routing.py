"""The choice of a payment's rail: the ranking depends only on its inputs and states its reasons."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Operation, OperationCapability
from synccash.payments.routing import NO_PREFERENCES, Candidate, Cost, RoutingPreferences, choose
from synccash.payments.routing_rules import read_rules

ABLE = OperationCapability(dedup_by_reference=True)
ALL = Capabilities(networks=frozenset(Network), operations={Operation.COLLECT: ABLE, Operation.PAYOUT: ABLE})
MTN_ONLY = replace(ALL, networks=frozenset({Network.MTN}))
RAILS = {"mtn_momo": MTN_ONLY, "paystack": ALL, "hubtel": ALL}
NAMES = tuple(RAILS)


def rail(name: str, health: float = 1.0, **changes) -> Candidate:
    return Candidate(name, RAILS[name], health=health, unhealthy=health < 0.9, **changes)


def ranking(*candidates: Candidate, **asked) -> list[str]:
    route = choose(candidates, network=Network.MTN, **asked)
    return [c["rail"] for c in route.considered if "skipped" not in c]


CANDIDATES = st.lists(
    st.builds(
        rail,
        st.sampled_from(NAMES),
        st.floats(0, 1),
        open_for_s=st.one_of(st.none(), st.floats(0.1, 100)),
    ),
    unique_by=lambda candidate: candidate.rail,
)
SHARES = st.dictionaries(st.sampled_from(NAMES), st.floats(0, 100))
WISHES = st.builds(
    RoutingPreferences,
    order=st.permutations(NAMES).map(tuple),
    shares=SHARES,
    costs=st.dictionaries(st.sampled_from(NAMES), st.builds(Cost, st.floats(0, 5), st.floats(0, 100))),
)


@given(
    CANDIDATES, WISHES, st.sampled_from(Network), st.text(max_size=9), st.integers(1, 10**9), st.booleans()
)
def test_every_rail_is_ranked_or_excluded_once_and_only_a_capable_one_is_chosen(
    candidates, preferences, network, key, amount, probe
):
    asked = {"network": network, "key": key, "amount": amount, "preferences": preferences, "probe": probe}
    route = choose(candidates, **asked)
    assert choose(candidates, **asked) == route
    assert sorted(c["rail"] for c in route.considered) == sorted(c.rail for c in candidates)
    able = {c.rail for c in candidates if network in c.capabilities.networks and c.open_for_s is None}
    assert {c["rail"] for c in route.considered if "skipped" not in c} == able
    assert (route.chosen in able) if able else (route.chosen is None)
    assert all(0.0 <= c["score"] <= 1.0 for c in route.considered)
    assert all(set(c) <= {"rail", "score", "skipped"} for c in route.considered)


@given(CANDIDATES, WISHES, st.text(max_size=9))
def test_a_retry_of_a_payment_ranks_the_remaining_rails_in_the_same_order(candidates, preferences, key):
    asked = {"network": Network.MTN, "key": key, "preferences": preferences}
    able = [c for c in candidates if c.open_for_s is None]
    before = choose(able, **asked)
    if before.chosen is None:
        return
    after = choose(able, excluded=frozenset({before.chosen}), **asked)
    names = [c["rail"] for c in before.considered]
    if not preferences.costs:
        assert [c["rail"] for c in after.considered if "skipped" not in c] == names[1:]
    assert after.chosen != before.chosen


@given(CANDIDATES)
def test_without_preferences_health_decides_and_equals_keep_their_order(candidates):
    able = [c for c in candidates if c.open_for_s is None]
    ranked = ranking(*able)
    expected = sorted(able, key=lambda c: -c.health)
    assert ranked == [c.rail for c in expected]


def test_a_preference_holds_until_the_preferred_rail_is_clearly_less_healthy():
    preferences = RoutingPreferences(order=("paystack", "mtn_momo"))
    assert ranking(rail("mtn_momo"), rail("paystack"), preferences=preferences)[0] == "paystack"
    assert ranking(rail("mtn_momo"), rail("paystack", 0.95), preferences=preferences)[0] == "paystack"
    assert ranking(rail("mtn_momo"), rail("paystack", 0.8), preferences=preferences)[0] == "mtn_momo"


def test_the_cheaper_rail_is_chosen_while_it_is_healthy():
    preferences = RoutingPreferences(costs={"mtn_momo": Cost(1.0), "paystack": Cost(1.95)})
    route = choose(
        [rail("paystack"), rail("mtn_momo")], network=Network.MTN, amount=2500, preferences=preferences
    )
    assert (route.chosen, route.reason) == ("mtn_momo", "best_score")
    assert route.considered == ({"rail": "mtn_momo", "score": 1.0}, {"rail": "paystack", "score": 0.953})
    assert ranking(rail("paystack"), rail("mtn_momo", 0.9), preferences=preferences)[0] == "paystack"


def test_a_fixed_cost_weighs_more_on_a_small_amount():
    preferences = RoutingPreferences(costs={"mtn_momo": Cost(pesewas=50), "paystack": Cost(1.95)})
    small, large = (
        {"amount": 100, "preferences": preferences},
        {"amount": 100_000, "preferences": preferences},
    )
    assert ranking(rail("mtn_momo"), rail("paystack"), **small)[0] == "paystack"
    assert ranking(rail("paystack"), rail("mtn_momo"), **large)[0] == "mtn_momo"


def split_over(count: int, *candidates: Candidate, **shares: float) -> Counter[str]:
    preferences = RoutingPreferences(shares=shares)
    return Counter(ranking(*candidates, key=f"pay_{n}", preferences=preferences)[0] for n in range(count))


def test_a_split_gives_each_rail_its_share():
    found = split_over(4_000, rail("mtn_momo"), rail("paystack"), mtn_momo=80, paystack=20)
    assert abs(found["mtn_momo"] / 4_000 - 0.8) < 0.03
    assert found.total() == 4_000


def test_a_rail_that_drops_out_of_a_split_moves_only_its_own_payments():
    preferences = RoutingPreferences(shares={"mtn_momo": 50, "paystack": 30, "hubtel": 20})
    everyone = [rail(name) for name in NAMES]
    for number in range(300):
        before = ranking(*everyone, key=str(number), preferences=preferences)
        without = ranking(rail("mtn_momo", 0.5), *everyone[1:], key=str(number), preferences=preferences)
        assert without == [*(name for name in before if name != "mtn_momo"), "mtn_momo"]


def test_a_rail_without_a_share_is_used_only_for_failover():
    assert split_over(50, rail("mtn_momo"), rail("paystack"), paystack=100) == {"paystack": 50}
    assert split_over(50, rail("mtn_momo"), rail("paystack", 0.2), paystack=100) == {"mtn_momo": 50}


def test_a_probe_goes_to_the_rail_that_would_be_first_in_full_health():
    sick, well = rail("mtn_momo", 0.3), rail("paystack")
    assert choose([sick, well], network=Network.MTN).chosen == "paystack"
    probing = choose([sick, well], network=Network.MTN, probe=True)
    assert (probing.chosen, probing.reason) == ("mtn_momo", "recovery_probe")
    assert choose([rail("mtn_momo"), well], network=Network.MTN, probe=True).reason == "best_score"
    assert choose([well, sick], network=Network.MTN, probe=True).chosen == "paystack"
    assert choose([sick, well], network=Network.MTN, probe=True, pinned="paystack").chosen == "paystack"
    shut = replace(sick, open_for_s=9.0)
    assert choose([shut, well], network=Network.MTN, probe=True).chosen == "paystack"


def test_the_least_healthy_rail_is_chosen_if_there_is_no_other():
    route = choose([rail("mtn_momo", 0.0)], network=Network.MTN)
    assert (route.chosen, route.reason) == ("mtn_momo", "only_able")


def test_the_most_specific_rule_applies():
    rules = read_rules(
        RAILS,
        costs="mtn_momo: 1%; mtn_momo payout: 50; paystack mtn: 1.95% + 10; merchant=mer_1 paystack: 1.5 %",
        preferences="*: mtn_momo > paystack; payout: hubtel; merchant=mer_1: paystack",
        splits="mtn collect: mtn_momo 80, paystack 20; merchant=mer_2 mtn: hubtel 100%",
    )
    mtn, telecel, collect, payout = Network.MTN, Network.TELECEL, Operation.COLLECT, Operation.PAYOUT
    anyone = rules.preferences_for("mer_9", mtn, collect)
    assert (anyone.order, anyone.shares) == (("mtn_momo", "paystack"), {"mtn_momo": 80.0, "paystack": 20.0})
    assert anyone.costs == {"mtn_momo": Cost(1.0), "paystack": Cost(1.95, 10)}
    assert rules.preferences_for("mer_9", telecel, payout).order == ("hubtel",)
    assert rules.preferences_for("mer_9", telecel, payout).costs == {
        "mtn_momo": Cost(0, 50),
        "paystack": Cost(),
    }
    assert rules.preferences_for("mer_1", telecel, payout).order == ("paystack",)
    assert rules.preferences_for("mer_1", telecel, payout).costs["paystack"] == Cost(1.5)
    assert rules.preferences_for("mer_2", mtn, collect).shares == {"hubtel": 100.0}
    assert rules.preferences_for("mer_2", None, payout).shares == {}
    assert read_rules(RAILS).preferences_for("mer_9", mtn, collect) == NO_PREFERENCES


@pytest.mark.parametrize(
    ("setting", "text", "expected"),
    [
        ("costs", "paystak: 1%", "did you mean paystack"),
        ("costs", "mtn: 1%", "no rail is named"),
        ("costs", "paystack: cheap", "expected a cost"),
        ("costs", "paystack: 1%; paystack: 2%", "another rule"),
        ("preferences", "paystack > hubtel", "expected `SELECTOR: VALUE`"),
        ("preferences", "vodafone: paystack", "not a network"),
        ("preferences", "telecel: mtn_momo", "does not reach telecel"),
        ("preferences", "*: hubtel > hubtel", "listed twice"),
        ("splits", "mtn: mtn_momo 80, paystack 10", "come to 90, expected 100"),
        ("splits", "mtn: mtn_momo", "not a share"),
        ("splits", ": mtn_momo 100", "before the colon"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_its_setting(setting: str, text: str, expected: str):
    with pytest.raises(ValueError, match=expected) as caught:
        read_rules(RAILS, **{setting: text})
    assert all(line.startswith(f"routing_{setting}: ") for line in str(caught.value).splitlines())


def test_all_mistakes_are_reported_together():
    with pytest.raises(ValueError, match="routing_costs") as caught:
        read_rules(RAILS, costs="x: 1%", splits="mtn: paystack 50")
    assert len(str(caught.value).splitlines()) == 2
