"""Calls rails: routing, guards, policies, and what is known of their health and floats."""
