"""Paystack: connector, answers and callbacks."""
