"""MTN MoMo: connector and answers."""
