"""What an operator sees of a process: health, backlog, metrics, logs."""
