from engine.conftest import (  # noqa: F401 - the engine's desk serves here too
    desk,
    open_desk,
    payout_rules,
    rails,
    rules,
    schedule,
    screening,
    settings,
    surplus_refund,
)
