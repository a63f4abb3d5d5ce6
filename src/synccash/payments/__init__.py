"""The domain, pure: values and transition tables. No input or output, no clock, no framework."""
