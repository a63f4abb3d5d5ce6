"""What `synccash up`, the drill and the tests need to open an account at a simulated rail of the sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRail:
    """The address of one sandbox rail, and the values from which its account is built.

    `url` is the rail's own port. `user` (a UUIDv4) and `key` (32 hexadecimal digits) stay the same over all
    starts of one data folder. `callbacks` is the URL for this rail's callbacks, without the token.
    """

    url: str
    user: str
    key: str = field(repr=False)
    callbacks: str

    @property
    def callback_token(self) -> str:
        """Returns the secret part of the callback URL of the account; it also stays the same."""
        return sha256(f"callbacks to {self.callbacks} {self.key}".encode()).hexdigest()

    @property
    def callback_url(self) -> str:
        """Returns the callback URL of the account, with its token."""
        return f"{self.callbacks}/{self.callback_token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxAccount:
    """Our `settings` for a rail, and the body to PUT to each of its `control` resources first."""

    settings: Mapping[str, str] = field(repr=False)
    control: Mapping[str, Mapping[str, Any]] = field(repr=False)
