from engine.conftest import desk, payout_rules, rails, rules, schedule, screening, settings, surplus_refund  # noqa: F401 - the engine's desk serves here too
