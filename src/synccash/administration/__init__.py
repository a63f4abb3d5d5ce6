"""Operator actions behind the CLI. Each function takes the settings and returns the result to print."""
