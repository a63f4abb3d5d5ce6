"""Private parts of the toolkit; import the modules above instead."""
