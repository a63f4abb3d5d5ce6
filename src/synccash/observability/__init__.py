"""Health, backlog, metrics, breakers and logs of a process, for operators."""
