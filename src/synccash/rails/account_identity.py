"""Names secret keys of rail accounts without giving them away."""

from hashlib import sha256


def hashed_key(rail: str, key: str) -> str:
    """Return the name of a secret key: 128 bits of a hash.

    The keys that providers hand out are random and long, so nobody finds one by trying.
    """
    return sha256(f"synccash rail account {rail} {key}".encode()).hexdigest()[:32]
