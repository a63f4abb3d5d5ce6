"""The rails played back: wire-faithful simulators with a book of real debits and scripted faults.

The sandbox stands alone. It imports nothing of the engine that it is used to judge, so that a mistake made
there cannot be made here again.
"""
