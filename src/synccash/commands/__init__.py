"""The CLI commands, one module for each group. A command parses its arguments, calls `administration` or a
process, and prints the result; it holds no business rules.

A command imports everything beyond the standard library and cyclopts when it runs.
"""
