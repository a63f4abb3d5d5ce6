"""Identifies secret keys of rail accounts by a hash, without revealing them."""

from hashlib import sha256

from synccash.settings.secret import Secret


def hashed_key(rail: str, key: Secret) -> str:
    """Return the identity of a secret key: 128 bits of a SHA-256 hash.

    The keys that providers hand out are random and long, so they cannot be guessed from the hash.
    """
    return sha256(f"synccash rail account {rail} {key.reveal()}".encode()).hexdigest()[:32]
