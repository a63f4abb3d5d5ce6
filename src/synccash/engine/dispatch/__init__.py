"""Calls rails: chooses one, guards its account, applies policies, and tracks its health and float."""
