"""What merchants and operators ask the engine for: payments, refunds, payouts, passwords, reviews."""
