"""`synccash console`: prints a one-time link that signs in to the console."""

from synccash.commands.terminal import print_json, settings


def console(*, url: str | None = None, json: bool = False) -> int:
    """Print a link that signs you in to the console once, as an admin. It needs database credentials.

    Parameters
    ----------
    url
        The console's address; by default that of the `synccash up` here, or of this machine.
    """
    from synccash.administration.database import with_database
    from synccash.administration.local_keys import local_api_url
    from synccash.administration.operators.console_link import make_console_link

    given = settings()
    address = (url or given.api_url or local_api_url(given)).rstrip("/")
    link = with_database(given, lambda database: make_console_link(database, address))
    if json:
        return print_json({"url": link})
    print(link)
    return 0
