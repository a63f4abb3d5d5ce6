"""`synccash encryption`: encrypts rows from before the encryption, or of a former key."""

from cyclopts import App

from synccash.commands.terminal import print_json, print_table, settings

ENCRYPTION = App(name="encryption", help="The encryption of personal data and secrets in PostgreSQL.")


@ENCRYPTION.command
def status(*, json: bool = False) -> int:
    """Count the rows of each table that are not encrypted with the current key. Reads whole tables."""
    from synccash.administration.maintenance.encryption import count_stale_rows

    found = count_stale_rows(settings())
    if json:
        return print_json({"data": found})
    return print_table(("table", "rows to encrypt"), [tuple(one.values()) for one in found], nothing="")


@ENCRYPTION.command
def seal(*, json: bool = False) -> int:
    """Encrypt all rows that are not encrypted with the current key.

    Run it once every process runs a release that encrypts, and after each rotation of encryption_keys. The
    service goes on meanwhile. It can be interrupted and repeated. Exits with 1 if rows could not be
    decrypted.
    """
    from synccash.administration.maintenance.encryption import encrypt_rows

    found = encrypt_rows(settings())
    failed = any(one["unreadable"] for one in found)
    if json:
        return print_json({"data": found}) or int(failed)
    titles = ("table", "encrypted", "unreadable")
    return print_table(titles, [tuple(one.values()) for one in found], nothing="") or int(failed)
