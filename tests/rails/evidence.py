"""What the evidence of a send says to the tests of all rails."""

from synccash.resilience.evidence import Evidence


def did_nothing(evidence: Evidence) -> bool:
    """True when the evidence proves that the send moved no money."""
    return evidence.danger < Evidence.AMBIGUOUS.danger
