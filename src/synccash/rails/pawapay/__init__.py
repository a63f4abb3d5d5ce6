"""pawaPay: connector and answers."""
