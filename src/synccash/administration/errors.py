"""The error of operator actions."""


class AdministrationError(Exception):
    """An operator action failed. The text says why, and what to do next."""
