"""Refuses a number that makes no sense when a setting is made: a slip is not to show first in an outage."""


def whole(**settings: object) -> None:
    """Raises TypeError for one that is no int. None passes."""
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} must be a whole number, not {value!r}")


def number(**settings: object) -> None:
    """Raises TypeError for one that is no number, ValueError for NaN. None passes."""
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if value != value:
            raise ValueError(f"{name} must be a number, not NaN")
