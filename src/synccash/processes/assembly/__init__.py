"""Builds the live parts of an API process or worker from its settings."""
