"""Derives the references that identify attempts at the rails. Each depends only on the merchant's request, so
an order that was lost with a database is found at the rails, and sent again, under the same references.

Signs the tokens of callback addresses, so that a process recognizes its installation's own without a query.
"""

import base64
import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self
from uuid import UUID

from synccash.payments.rail import Operation

KEY_BYTES_MIN = 32
_KEY_ID_CHARS = 12
_MAC_BYTES = 18
_MAC_CHARS = 24
_TOKEN_CHARS_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIdentity:
    """The permanent identity of an order; it stays the same when a restored database assigns another id.

    `names`: the merchant's reference of a payment or payout; for a refund, the payment's reference and the
    refund's own identity.
    """

    merchant_id: str
    livemode: bool
    operation: Operation
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReferenceKey:
    """The installation's key. `id` identifies the key without revealing it."""

    secret: bytes = field(repr=False)
    id: str

    @classmethod
    def of(cls, secret: str) -> Self:
        """Read a key of 32 bytes or more in hexadecimal digits. Raises ValueError."""
        try:
            raw = bytes.fromhex(secret)
        except ValueError:
            raise ValueError("expected hexadecimal digits, as `openssl rand -hex 32` prints them") from None
        if len(raw) < KEY_BYTES_MIN:
            raise ValueError(f"expected at least {KEY_BYTES_MIN} bytes in hexadecimal digits, got {len(raw)}")
        return cls(raw, sha256(b"synccash installation key id" + raw).hexdigest()[:_KEY_ID_CHARS])

    def sign_token(self, random: str) -> str:
        """Return the token of a callback address: `random`, followed by a MAC of 144 bits over it."""
        return random + self._token_mac(random)

    def has_signed(self, token: str) -> bool:
        """Tell whether `sign_token` made this token, in constant time."""
        if not _MAC_CHARS < len(token) <= _TOKEN_CHARS_MAX or not token.isascii():
            return False
        random, mac = token[:-_MAC_CHARS], token[-_MAC_CHARS:]
        return hmac.compare_digest(mac, self._token_mac(random))

    def _token_mac(self, random: str) -> str:
        digest = hmac.digest(self.secret, b"synccash callback token" + random.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:_MAC_BYTES]).decode()

    def derive(self, identity: OrderIdentity, sequence: int) -> str:
        """Return the reference of the order's attempt with this sequence number, as a lower-case UUID.

        It is the HMAC-SHA-256 of the identity, cut to 128 bits, with the version and variant bits of a UUIDv4
        (RFC 9562, section 5.4), the one form that every rail takes.
        """
        parts = (
            identity.merchant_id,
            "live" if identity.livemode else "test",
            identity.operation.value,
            str(sequence),
            *identity.names,
        )
        raw = (part.encode() for part in parts)
        # The length before each part makes the encoding unambiguous.
        message = b"".join(len(part).to_bytes(4) + part for part in raw)
        digest = hmac.digest(self.secret, message, "sha256")
        return str(UUID(bytes=digest[:16], version=4))
