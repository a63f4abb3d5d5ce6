"""Evidence: what is known about the effect of a call on the dependency. Money is decided on it."""

from enum import StrEnum


class Evidence(StrEnum):
    """What is known about the effect of one send, or of all sends under one reference.

    Members are in order of danger: with a later member it is more likely that the dependency has acted.
    """

    NOT_SENT = "not_sent"
    """No byte was sent: DNS failure, refused connection, TLS failure, full connection pool, open breaker."""
    REFUSED_LATER = "refused_later"
    """The dependency answered that it did nothing and that a repeat may work: 429, a documented 503."""
    REFUSED_FINAL = "refused_final"
    """The dependency answered that it did nothing and will never accept this request."""
    AMBIGUOUS = "ambiguous"
    """The effect is unknown. Every result that is not recognised counts as ambiguous."""
    ACCEPTED = "accepted"
    """The dependency has the request: only its own status answers decide the outcome from now on."""

    @property
    def danger(self) -> int:
        """Rank from 0 (nothing was sent) to 4 (the dependency accepted the request)."""
        return _DANGER[self]

    @property
    def proves_nothing_happened(self) -> bool:
        """True when no send so far can have had an effect, such as moving money."""
        return self.danger < Evidence.AMBIGUOUS.danger

    def worst(self, other: "Evidence") -> "Evidence":
        """Return the more dangerous evidence of two sends, which holds for both together."""
        return self if self.danger >= other.danger else other


_DANGER = {evidence: rank for rank, evidence in enumerate(Evidence)}
