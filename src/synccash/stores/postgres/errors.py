"""What the ledger refuses because the caller, not the world, is wrong."""


class InvariantBrokenError(Exception):
    """A commit would have broken a promise that the database itself holds: `constraint` names it.

    Nothing was written. It is always a mistake in the program, never in a request.
    """

    def __init__(self, constraint: str, reason: str) -> None:
        super().__init__(f"{reason} ({constraint})")
        self.constraint = constraint
