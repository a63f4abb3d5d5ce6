"""Type checks for numeric settings. A wrong type must fail when the setting is made, not during an outage."""


def require_int(**settings: object) -> None:
    """Check that each setting is an int or None. Raises TypeError."""
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} must be a whole number, not {value!r}")


def require_number(**settings: object) -> None:
    """Check that each setting is a number or None. Raises TypeError, and ValueError for NaN."""
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if value != value:
            raise ValueError(f"{name} must be a number, not NaN")
