"""Requests of merchants and operators: payments, refunds, payouts, one-time passwords, reviews."""
