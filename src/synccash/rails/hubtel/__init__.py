"""Hubtel: connector and answers."""
