"""Maintenance by commands that open the database themselves; no server process imports it."""
