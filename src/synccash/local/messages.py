"""What `synccash up` says: its errors, and its lines on the terminal."""


class UpError(Exception):
    """The service cannot start on this machine. The text says why, and what to do next."""


def say(text: str) -> None:
    """Prints a line on the terminal."""
    print(text, flush=True)
