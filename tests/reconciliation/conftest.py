from engine.conftest import desk, ladder, payout_rules, rails, rules, screening, settings, surplus_refund  # noqa: F401 - the engine's desk serves here too
