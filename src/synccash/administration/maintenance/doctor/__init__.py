"""Examines an installation: reads what is there, and says what is wrong and what to do.

`readers` and `probing` read, `judgements` are pure, `examination` holds the table of checks.
"""
