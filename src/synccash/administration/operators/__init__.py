"""Operators: sign-in, passwords, roles, and the approvals that some of their actions need."""
