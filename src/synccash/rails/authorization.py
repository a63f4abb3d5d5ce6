"""The values of `Authorization` headers. They are secret up to the Transport, which alone reveals them."""

import base64

from synccash.settings.secret import Secret


def bearer_authorization(token: Secret) -> Secret:
    """Return a bearer token as a header's value (RFC 6750, section 2.1)."""
    return Secret(f"Bearer {token.reveal()}")


def basic_authorization(user: str, password: Secret) -> Secret:
    """Return a user and its password as a header's value (RFC 7617). `user` has no colon."""
    return Secret("Basic " + base64.b64encode(f"{user}:{password.reveal()}".encode()).decode())
