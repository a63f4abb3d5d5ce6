"""The error for a commit that PostgreSQL refuses because it breaks a constraint."""

from synccash.payments.errors import InternalError


class InvariantBrokenError(InternalError):
    """A commit would have broken a constraint of the schema; `constraint` is its name. Nothing was written.

    It is always a bug of the service, never of a request.
    """

    def __init__(self, constraint: str, reason: str) -> None:
        super().__init__(f"{reason} ({constraint})")
        self.constraint = constraint
