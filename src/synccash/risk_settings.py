"""Reads the operator's risk rules from the settings."""

from synccash.payments.payer import Msisdn
from synccash.payments.risk import RiskOutcome, RiskRules, Velocity
from synccash.settings import Settings, SettingsError


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
        tier_window_s=settings.risk_tier_window_s,
        merchant_amount=_velocity(settings.risk_merchant_max_amount, merchant_window_s),
        duplicate_window_s=settings.risk_duplicate_window_s,
        duplicate=RiskOutcome(settings.risk_duplicate),
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
        raise SettingsError(f"{name}: {error}; separate several with commas") from error
