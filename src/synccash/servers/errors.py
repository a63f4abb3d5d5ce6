"""The errors of starting the bundled servers."""


class ServersError(Exception):
    """The bundled servers cannot run here; the text says why and what to do."""


class ServersMissingError(ServersError):
    """No usable PostgreSQL or Valkey was found; the text says what to do."""
