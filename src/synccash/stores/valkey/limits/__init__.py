"""Rate limits that all processes share over Valkey."""
