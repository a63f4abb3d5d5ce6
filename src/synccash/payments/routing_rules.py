"""Reads and checks the operator's routing rules at start: costs, preferences and splits.

Each setting is a list of `SELECTOR: VALUE`, separated by semicolons. A selector names, in any order, a
network (mtn, telecel, at), an operation (collect, payout), a merchant (`merchant=mer_…`), or `*`; a cost
also names its rail. When several rules fit, the most specific one applies; a merchant precedes a network,
and a network precedes an operation.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Operation
from synccash.payments.routing import FREE, NO_PREFERENCES, Cost, RoutingPreferences

T = TypeVar("T")
_ROUTED = (Operation.COLLECT, Operation.PAYOUT)
_COST = re.compile(r"(?:(?P<percent>\d{1,2}(?:\.\d{1,4})?)\s*%)?\s*\+?\s*(?P<pesewas>\d{1,9}(?:\.\d{1,2})?)?")
_SHARE = re.compile(r"(?P<rail>[a-z_]+)\s+(?P<share>\d{1,3}(?:\.\d{1,2})?)\s*%?")


@dataclass(frozen=True, slots=True)
class Selector:
    """The orders that a rule applies to; None = any."""

    merchant: str | None = None
    network: Network | None = None
    operation: Operation | None = None
    rail: str | None = None

    def fits(self, merchant: str, network: Network | None, operation: Operation) -> bool:
        """Return True when the rule applies to the order."""
        return (
            self.merchant in (None, merchant)
            and self.network in (None, network)
            and self.operation in (None, operation)
        )

    @property
    def weight(self) -> tuple[int, bool, bool]:
        """How specific the selector is: of several rules that fit, the one with the largest weight
        applies."""
        named = sum(part is not None for part in (self.merchant, self.network, self.operation))
        return named, self.merchant is not None, self.network is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRules:
    """All rules, as `read_rules` checked them."""

    costs: Mapping[Selector, Cost]
    preferences: Mapping[Selector, tuple[str, ...]]
    splits: Mapping[Selector, Mapping[str, float]]
    cost_weight: float = 0.05
    preference_step: float = 0.1

    def preferences_for(
        self, merchant: str, network: Network | None, operation: Operation
    ) -> RoutingPreferences:
        """Return the preferences for one kind of order."""
        if not (self.costs or self.preferences or self.splits):
            return NO_PREFERENCES

        def fitting(rules: Mapping[Selector, T], otherwise: T) -> T:
            fit = [selector for selector in rules if selector.fits(merchant, network, operation)]
            return rules[max(fit, key=lambda selector: selector.weight)] if fit else otherwise

        rails = dict.fromkeys(selector.rail for selector in self.costs if selector.rail is not None)
        return RoutingPreferences(
            order=fitting(self.preferences, ()),
            shares=fitting(self.splits, {}),
            costs={
                rail: fitting(
                    {selector: cost for selector, cost in self.costs.items() if selector.rail == rail}, FREE
                )
                for rail in rails
            },
            cost_weight=self.cost_weight,
            preference_step=self.preference_step,
        )


NO_RULES = RoutingRules(costs={}, preferences={}, splits={})


def read_rules(
    rails: Mapping[str, Capabilities],
    *,
    costs: str = "",
    preferences: str = "",
    splits: str = "",
    cost_weight: float = 0.05,
    preference_step: float = 0.1,
) -> RoutingRules:
    """Read the rules for the configured rails.

    `costs`: `mtn_momo: 1%; paystack mtn: 1.95% + 10` (percent of the amount, and pesewas).
    `preferences`: `*: mtn_momo > paystack; merchant=mer_1 payout: hubtel`.
    `splits`: `mtn collect: mtn_momo 80, paystack 20`.
    Raises ValueError with one line per mistake; each begins with the name of the setting.
    """
    mistakes: list[str] = []

    def read(
        name: str, text: str, value: Callable[[str, Selector], T], *, of_rail: bool = False
    ) -> dict[Selector, T]:
        found: dict[Selector, T] = {}
        for part in filter(None, (part.strip() for part in text.split(";"))):
            try:
                left, colon, right = part.partition(":")
                if not colon:
                    raise ValueError("expected `SELECTOR: VALUE`; separate several with semicolons")
                selector = _selector(left, rails, of_rail=of_rail)
                if selector in found:
                    raise ValueError("another rule is for exactly the same orders; keep one of them")
                found[selector] = value(right.strip(), selector)
            except ValueError as error:
                mistakes.append(f"routing_{name}: {part!r}: {error}")
        return found

    rules = RoutingRules(
        costs=read("costs", costs, _cost, of_rail=True),
        preferences=read(
            "preferences", preferences, lambda text, selector: _preference(text, selector, rails)
        ),
        splits=read("splits", splits, lambda text, selector: _split(text, selector, rails)),
        cost_weight=cost_weight,
        preference_step=preference_step,
    )
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return rules


def _selector(text: str, rails: Mapping[str, Capabilities], *, of_rail: bool) -> Selector:
    merchant = network = operation = rail = None
    words = text.split()
    if not words:
        raise ValueError("expected a network, an operation, merchant=ID or * before the colon")
    for word in words:
        named = word.lower()
        if named == "*":
            continue
        if named.startswith("merchant=") and len(named) > len("merchant=") and merchant is None:
            merchant = word.partition("=")[2]
        elif named in tuple(Network) and network is None:
            network = Network(named)
        elif named in tuple(_ROUTED) and operation is None:
            operation = Operation(named)
        elif of_rail and rail is None:
            rail = _known(named, rails)
        else:
            raise ValueError(f"{word!r} is not a network, an operation (collect, payout) or merchant=ID")
    if of_rail and rail is None:
        raise ValueError(f"no rail is named; expected one of {', '.join(rails)} before the colon")
    return Selector(merchant, network, operation, rail)


def _known(name: str, rails: Mapping[str, Capabilities]) -> str:
    if name in rails:
        return name
    near = difflib.get_close_matches(name, rails, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(rails) or 'none'}"
    raise ValueError(f"the rail {name!r} is not set up{hint}")


def _capable_rail(name: str, selector: Selector, rails: Mapping[str, Capabilities]) -> str:
    rail = _known(name.strip().lower(), rails)
    capabilities = rails[rail]
    if selector.network is not None and selector.network not in capabilities.networks:
        raise ValueError(f"{rail} does not reach {selector.network.value}")
    if selector.operation is not None and selector.operation not in capabilities.operations:
        raise ValueError(f"{rail} cannot {selector.operation.value} as it is set up")
    return rail


def _cost(text: str, selector: Selector) -> Cost:
    del selector
    written = _COST.fullmatch(text)
    if not text or written is None or not (written["percent"] or written["pesewas"]):
        raise ValueError("expected a cost such as 1.95%, 1.95% + 10 or 50 (pesewas)")
    return Cost(float(written["percent"] or 0), float(written["pesewas"] or 0))


def _preference(text: str, selector: Selector, rails: Mapping[str, Capabilities]) -> tuple[str, ...]:
    order = tuple(_capable_rail(name, selector, rails) for name in text.split(">"))
    if len(set(order)) < len(order):
        raise ValueError("a rail is listed twice; name each rail once")
    return order


def _split(text: str, selector: Selector, rails: Mapping[str, Capabilities]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in text.split(","):
        written = _SHARE.fullmatch(part.strip().lower())
        if written is None:
            raise ValueError(
                f"{part.strip()!r} is not a share; expected a rail and a number, such as mtn_momo 80"
            )
        rail = _capable_rail(written["rail"], selector, rails)
        if rail in shares:
            raise ValueError(f"{rail} is listed twice; name each rail once")
        shares[rail] = float(written["share"])
    total = sum(shares.values())
    if abs(total - 100) > 0.01:
        raise ValueError(f"the shares come to {total:g}, expected 100")
    return shares
