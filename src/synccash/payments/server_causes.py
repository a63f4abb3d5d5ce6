"""How PostgreSQL and Valkey fail: for each state a sentence, and what to do about it.

The same words appear in health, at `/health/ready` and in `synccash doctor`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerCause:
    """What happened, and what to do."""

    sentence: str
    action: str


_RESTORE = "No request is accepted until it works. See PostgreSQL is unavailable in docs/operating.md."
DATABASE_CAUSES: Mapping[str, ServerCause] = {
    "away": ServerCause(
        "PostgreSQL accepts no connection, or ended it.",
        f"Check that the server runs, and the network to it; start it or fail over. {_RESTORE}",
    ),
    "silent": ServerCause(
        "PostgreSQL hangs: it holds connections and does not answer within 2 s.",
        "Check the server's host: its disk, its load, and whether its processes are stopped (state T in "
        f"`ps`; `kill -CONT` lets them go on). If it stays silent, fail over. {_RESTORE}",
    ),
    "read_only": ServerCause(
        "PostgreSQL answers and takes no writes: it is a standby, or writes are switched off.",
        "Promote it, or let database_url name the host that takes writes, or reset "
        f"default_transaction_read_only. {_RESTORE}",
    ),
}


_ALONE = (
    "Payments go on meanwhile: each process counts limits alone, and workers poll. Nothing has to be "
    "restored. See Valkey is unavailable in docs/operating.md."
)
VALKEY_CAUSES: Mapping[str, ServerCause] = {
    "away": ServerCause(
        "Valkey accepts no connection, or ended it.",
        f"Check that the server runs, and the network to it, and start it. {_ALONE}",
    ),
    "silent": ServerCause(
        "Valkey hangs: it does not answer in time.",
        "Check the server's host: its load, its memory (swapping), and whether the process is stopped (state "
        "T in `ps`; `kill -CONT` lets it go on). A slow command (`valkey-cli SLOWLOG GET`), or a firewall "
        f"that drops packets, looks the same. {_ALONE}",
    ),
    "refused": ServerCause(
        "Valkey refuses the user, the password or the commands of this service.",
        f"`synccash doctor` shows what it says; correct SYNCCASH_VALKEY_URL, or the user's rights. {_ALONE}",
    ),
    "loading": ServerCause(
        "Valkey has started and still reads its data from disk.",
        f"Wait; no restart is needed. {_ALONE}",
    ),
}
