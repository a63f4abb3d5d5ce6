"""What an operator does from a shell. Everything here takes settings and returns what there is to show."""
