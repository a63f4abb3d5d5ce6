"""The error for a commit that PostgreSQL rejects because it would break a constraint."""

from synccash.payments.errors import InternalError


class InvariantBrokenError(InternalError):
    """A commit would break the schema's constraint named `constraint`; nothing was written.

    When the order store raises it, it is a bug of the service and not an error of the request.
    """

    def __init__(self, constraint: str, reason: str) -> None:
        super().__init__(f"{reason} ({constraint})")
        self.constraint = constraint
