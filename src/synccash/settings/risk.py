"""Reads the operator's risk rules for payments and payouts from the settings."""

import difflib
from dataclasses import replace

from synccash.payments.payer import Msisdn
from synccash.payments.risk import PayoutRules, RiskOutcome, RiskRules, Velocity
from synccash.settings.loader import Settings, SettingsError


def risk_rules(settings: Settings) -> RiskRules:
    """The operator's rules. Raises SettingsError for what cannot be read as one."""
    payer_window_s, merchant_window_s = settings.risk_payer_window_s, settings.risk_merchant_window_s
    return RiskRules(
        blocked_payers=_payers("risk_blocked_payers", settings.risk_blocked_payers),
        allowed_payers=_payers("risk_allowed_payers", settings.risk_allowed_payers),
        ceiling=settings.risk_ceiling,
        review_from=settings.risk_review_from,
        payer_count=_velocity(settings.risk_payer_max_payments, payer_window_s),
        payer_amount=_velocity(settings.risk_payer_max_amount, payer_window_s),
        merchant_count=_velocity(settings.risk_merchant_max_payments, merchant_window_s),
        tiers=_tiers(settings),
        default_tier=settings.risk_default_tier,
        tier_merchants=frozenset(filter(None, map(str.strip, settings.risk_tier_merchants.split(",")))),
        tier_window_s=settings.risk_tier_window_s,
        merchant_amount=_velocity(settings.risk_merchant_max_amount, merchant_window_s),
        duplicate_window_s=settings.risk_duplicate_window_s,
        duplicate=RiskOutcome(settings.risk_duplicate),
    )


def payout_rules(settings: Settings) -> PayoutRules:
    """The operator's rules for payouts, those of single merchants too. A payer whom the rules of payments
    block is not paid either; one whom they allow has no privilege here. Raises SettingsError."""
    general = RiskRules(
        blocked_payers=_payers("risk_blocked_payers", settings.risk_blocked_payers)
        | _payers("payout_blocked_payees", settings.payout_blocked_payees),
        allowed_payers=_payers("payout_allowed_payees", settings.payout_allowed_payees),
        ceiling=settings.payout_ceiling,
        review_from=settings.payout_review_from,
        payer_count=_velocity(settings.payout_payee_max_payouts, settings.payout_payee_window_s),
        payer_amount=_velocity(settings.payout_payee_max_amount, settings.payout_payee_window_s),
        merchant_count=_velocity(settings.payout_merchant_max_payouts, settings.payout_merchant_window_s),
        merchant_amount=_velocity(settings.payout_merchant_max_amount, settings.payout_merchant_window_s),
        duplicate_window_s=settings.payout_duplicate_window_s,
        duplicate=RiskOutcome(settings.payout_duplicate),
    )
    return PayoutRules(general=general, merchants=_of_merchants(settings, general))


_LIMITS = (
    "ceiling",
    "review_from",
    "payee_max_payouts",
    "payee_max_amount",
    "merchant_max_payouts",
    "merchant_max_amount",
)
"""The limits that a merchant may have of its own, each named as the setting `payout_…`."""


def _of_merchants(settings: Settings, general: RiskRules) -> dict[str, RiskRules]:
    """Read `merchant=mer_1: ceiling 500000, payee_max_amount 2000000; merchant=mer_2: ceiling 50000`."""
    found: dict[str, RiskRules] = {}
    for part in filter(None, (part.strip() for part in settings.payout_merchants.split(";"))):
        left, colon, right = part.partition(":")
        merchant = left.strip().removeprefix("merchant=")
        try:
            if not colon or merchant == left.strip() or not merchant:
                raise ValueError(
                    "expected `merchant=ID: LIMIT PESEWAS, …`, with a semicolon between merchants"
                )
            if merchant in found:
                raise ValueError("there is already a rule for the same merchant; merge the two")
            found[merchant] = _with_limits(settings, general, right)
        except ValueError as error:
            raise SettingsError(f"payout_merchants: {part!r}: {error}") from error
    return found


def _with_limits(settings: Settings, general: RiskRules, text: str) -> RiskRules:
    """The general rules with a merchant's own limits in their place. Raises ValueError."""
    limits: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition(" ")
        if name not in _LIMITS:
            near = difflib.get_close_matches(name, _LIMITS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(_LIMITS)}"
            raise ValueError(f"{name!r} is not a limit{hint}")
        if name in limits:
            raise ValueError(f"{name} is given twice; remove one")
        number = number.strip()
        if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= 10**12):
            raise ValueError(f"{name}: expected a whole number from 1 to 1,000,000,000,000")
        limits[name] = int(number)
    payee_window_s, merchant_window_s = settings.payout_payee_window_s, settings.payout_merchant_window_s
    return replace(
        general,
        ceiling=limits.get("ceiling", general.ceiling),
        review_from=limits.get("review_from", general.review_from),
        payer_count=_velocity(limits.get("payee_max_payouts"), payee_window_s) or general.payer_count,
        payer_amount=_velocity(limits.get("payee_max_amount"), payee_window_s) or general.payer_amount,
        merchant_count=_velocity(limits.get("merchant_max_payouts"), merchant_window_s)
        or general.merchant_count,
        merchant_amount=_velocity(limits.get("merchant_max_amount"), merchant_window_s)
        or general.merchant_amount,
    )


def _velocity(most: int | None, window_s: float) -> Velocity | None:
    return None if most is None else Velocity(most, window_s)


def _tiers(settings: Settings) -> dict[str, int]:
    """Read `minimum=300000, medium=1500000`: pesewas by tier."""
    tiers: dict[str, int] = {}
    for part in filter(str.strip, settings.risk_tier_ceilings.split(",")):
        name, _, ceiling = (piece.strip() for piece in part.partition("="))
        if not name or not ceiling.isdecimal() or not int(ceiling):
            raise SettingsError(
                f"risk_tier_ceilings: {part.strip()!r}: expected TIER=PESEWAS, such as minimum=300000"
            )
        tiers[name] = int(ceiling)
    if tiers and settings.risk_default_tier not in tiers:
        raise SettingsError(
            f"risk_default_tier: {settings.risk_default_tier!r}: expected one of risk_tier_ceilings: "
            f"{', '.join(tiers)}"
        )
    return tiers


def _payers(name: str, text: str) -> frozenset[str]:
    numbers = [number.strip() for number in text.split(",") if number.strip()]
    try:
        return frozenset(Msisdn.parse(number).digits for number in numbers)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}; separate phone numbers with commas") from error
