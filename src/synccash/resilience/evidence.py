"""What a call is known to have done on the far side. Every decision about money starts from this one word."""

from enum import StrEnum


class Evidence(StrEnum):
    """What one send, or all sends made under one reference, is known to have done.

    The order is the order of danger: a later member leaves more room for the far side to have acted.
    """

    NOT_SENT = "not_sent"
    """No byte left: name lookup, refused connection, TLS, a full pool, an open breaker."""
    REFUSED_LATER = "refused_later"
    """The far side said that it did nothing and may do it later: 429, a documented 503, maintenance."""
    REFUSED_FINAL = "refused_final"
    """The far side said that it did nothing and never will for this request."""
    AMBIGUOUS = "ambiguous"
    """Nobody knows. Whatever is not recognised is this."""
    ACCEPTED = "accepted"
    """The far side has it: from now on only its own answer decides."""

    @property
    def danger(self) -> int:
        """Rank from 0 (nothing happened) to 4 (it is there)."""
        return _DANGER[self]

    @property
    def proves_nothing_happened(self) -> bool:
        """True when no send so far can have moved money."""
        return self.danger < Evidence.AMBIGUOUS.danger

    def worst(self, other: "Evidence") -> "Evidence":
        """Return the evidence of both sends together: the more dangerous of the two."""
        return self if self.danger >= other.danger else other


_DANGER = {evidence: rank for rank, evidence in enumerate(Evidence)}
