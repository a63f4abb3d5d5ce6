"""Moves one order forward: decides the next commit, times inquiries, and prepares attempts."""
