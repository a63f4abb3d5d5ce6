"""Moves one order forward: decisions, timing, attempts, feedback."""
