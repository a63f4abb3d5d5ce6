from engine.conftest import desk, ladder, rules, screening, surplus_refund  # noqa: F401 - the engine's desk serves here too
