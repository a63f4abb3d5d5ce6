"""The one error of administration."""


class AdministrationError(Exception):
    """It cannot be done; the text says what to do."""
