"""Circuit breakers that all processes share over Valkey."""
