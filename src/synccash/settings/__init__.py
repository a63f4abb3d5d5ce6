"""Reads and checks the settings of an installation."""
