"""Simulated rails: the providers' wire formats, a book of the debits and credits, and scripted faults.

The sandbox imports nothing of the engine that it judges, so that a mistake made there is not repeated here.
"""
