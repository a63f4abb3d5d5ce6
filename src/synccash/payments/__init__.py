"""The payment domain: immutable values and transition tables. No I/O, no clock, no framework."""
