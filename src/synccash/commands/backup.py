"""`synccash backup` and `synccash restore`: the database in one file."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from synccash.commands.terminal import byte_progress, print_facts, print_json, settings


def backup(file: Path, /, *, json: bool = False) -> int:
    """Write a backup of the database to FILE, and its checksum and keys' ids to FILE.manifest.json.

    The service goes on meanwhile. With SYNCCASH_BACKUP_KEY the file is encrypted; without, it is an archive
    that pg_restore can read, in which personal data is encrypted with the encryption keys.
    """
    from msgspec import to_builtins

    from synccash.administration.maintenance.backup.backup import back_up

    with byte_progress("backup", quiet=json) as progress:
        manifest = back_up(settings(), file, progress)
    facts: dict[str, Any] = {"file": str(file), **to_builtins(manifest)}
    if json:
        return print_json(facts)
    print_facts(facts)
    if not manifest.encrypted:
        print("The file is not encrypted as a whole. To encrypt it, set SYNCCASH_BACKUP_KEY.")
    return 0


def restore(
    file: Path,
    /,
    *,
    reason: Annotated[str, Parameter(help="The reason, recorded in the audit log.")],
    json: bool = False,
) -> int:
    """Restore the backup in FILE into an empty database, with all sends held.

    Stop all processes of the service first. Then go on at step 5 of Restoring a backup in docs/operating.md:
    the rails are asked what they did after the backup was made.
    """
    from msgspec import to_builtins

    from synccash.administration.maintenance.backup.backup import restore as run

    with byte_progress("restore", quiet=json) as progress:
        restored = run(settings(), file, reason, progress)
    manifest: dict[str, Any] = to_builtins(restored.manifest)
    if json:
        return print_json(
            {"restored": manifest, "warnings": restored.warnings, "recovery": restored.recovery}
        )
    print_facts(
        {
            "restored": str(file),
            "made at": restored.manifest.created_at,
            "schema": restored.manifest.schema,
            "service's role": restored.role,
            "sends": "held for all orders",
            "orders to ask the rails about": restored.recovery["unsearched"],
        }
    )
    for warning in restored.warnings:
        print(f"Warning: {warning}")
    print("Start workers and API now; nothing is sent. Compare the rails' statements, then resume:")
    print("  synccash recovery release --reason TEXT")
    return 0


COMMANDS = (backup, restore)
