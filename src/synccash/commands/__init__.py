"""The commands, a file for each group: they read what was typed, call, and print. Nothing is decided here.

What a command needs beyond the standard library and cyclopts, it imports when it runs.
"""
