"""The payer: a Ghanaian mobile number and the network that holds the wallet."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Network(StrEnum):
    """The three mobile-money networks of Ghana."""

    MTN = "mtn"
    TELECEL = "telecel"
    AT = "at"


_SEPARATORS = str.maketrans("", "", " -\u00a0\u2009\u202f")
_SHAPE = re.compile(r"(?:\+233|233|0)([25][0-9]{8})", re.ASCII)

# Original allocations of the regulator (NCA). Numbers have been portable since July 2011.
_PREFIXES = {
    **dict.fromkeys(("24", "25", "53", "54", "55", "59"), Network.MTN),
    **dict.fromkeys(("20", "50"), Network.TELECEL),
    **dict.fromkeys(("23", "26", "27", "56", "57"), Network.AT),
}


ERASED = "233000000000"
"""Stands for a number that was erased. No wallet has it, and no request with it is accepted."""


@dataclass(frozen=True, slots=True)
class Msisdn:
    """A mobile number, kept as `233` and nine digits. It prints masked; `.digits` is the number itself."""

    digits: str

    def __post_init__(self) -> None:
        if self.is_erased:
            return
        if not (len(self.digits) == 12 and self.digits.startswith("233") and _SHAPE.fullmatch(self.digits)):
            raise ValueError("an Msisdn holds 233 and nine digits; use Msisdn.parse for other spellings")

    @classmethod
    def parse(cls, text: str) -> "Msisdn":
        """Read 024 123 4567, 233241234567 or +233 24 123 4567.

        Only the shape is checked (nine digits that begin with 2 or 5): prefix tables disagree with each
        other, and numbers are portable. Raises ValueError.
        """
        match = _SHAPE.fullmatch(text.translate(_SEPARATORS))
        if match is None:
            raise ValueError("expected a Ghanaian mobile number such as 0241234567 or +233241234567")
        return cls("233" + match.group(1))

    @property
    def is_erased(self) -> bool:
        """True in place of a number that was erased."""
        return self.digits == ERASED

    @property
    def local(self) -> str:
        """The number as people dial it: 0241234567."""
        return "0" + self.digits[3:]

    @property
    def network_hint(self) -> Network | None:
        """The network to which the prefix was first allocated. A hint only: numbers are portable."""
        return _PREFIXES.get(self.digits[3:5])

    def __str__(self) -> str:
        return f"{self.digits[:5]}****{self.digits[-3:]}"

    def __repr__(self) -> str:
        return f"Msisdn({self})"


@dataclass(frozen=True, slots=True)
class Payer:
    """The wallet to collect from. `network` is None when the request names none: the prefix hint is used."""

    msisdn: Msisdn
    network: Network | None = None

    @property
    def likely_network(self) -> Network | None:
        """The network of the request, else the prefix hint."""
        return self.network or self.msisdn.network_hint
