"""Simulated rails: the providers' wire formats, a book of the debits and credits, and scripted faults.

The sandbox imports nothing from the engine that it tests, so that the two do not share a mistake.
"""
