"""Stores the proven networks of payers by the keyed hashes of their numbers, with the database clock."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synccash.payments.payer import Network
from synccash.payments.payer_networks import ProvenNetwork
from synccash.stores.postgres.database import Database

_PURPOSE = "payer_networks"
_KEY = """
WITH made AS (
    INSERT INTO installation_keys (purpose, secret) VALUES ($1, $2)
    ON CONFLICT (purpose) DO UPDATE SET purpose = excluded.purpose RETURNING secret
)
SELECT secret FROM made
"""
_SINCE = """
SELECT payer, network, extract(epoch FROM seen_at)::float8 AS at FROM payer_networks
WHERE seen_at > to_timestamp($1) ORDER BY seen_at DESC LIMIT $2
"""
_WRITE = """
INSERT INTO payer_networks (payer, network)
SELECT * FROM unnest($1::bytea[], $2::text[]) AS proven (payer, network) ORDER BY payer
ON CONFLICT (payer) DO UPDATE SET network = excluded.network, seen_at = now()
"""
_DELETE = "DELETE FROM payer_networks WHERE payer = ANY ($1::bytea[])"
_SWEEP = """
DELETE FROM payer_networks WHERE payer IN (
    SELECT payer FROM payer_networks WHERE seen_at < now() - make_interval(secs => $1)
    ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED
) RETURNING payer
"""


@dataclass(frozen=True, slots=True)
class PostgresNetworks:
    """Implements `NetworkStore` of `engine.dispatch.network_memory`. Raises StoreUnavailableError."""

    database: Database

    async def secret(self) -> bytes:
        """Return the key of the hashes: derived from the lookup key, so that no copy of the database has it.
        Without encryption it is stored; the first call of an installation creates it."""
        if self.database.encryption is not None:
            return self.database.encryption.derived_key(_PURPOSE)
        found = await self.database.repeat(_KEY, _PURPOSE, secrets.token_bytes(32))
        return found[0]["secret"]

    async def since(self, at: float, *, limit: int) -> Mapping[bytes, ProvenNetwork]:
        """Return what was proven after `at` (POSIX seconds): the newest `limit` entries, newest first."""
        found = await self.database.repeat(_SINCE, max(0.0, at), limit)
        return {row["payer"]: ProvenNetwork(Network(row["network"]), row["at"]) for row in found}

    async def write(self, proven: Mapping[bytes, Network]) -> None:
        """Store proven networks with the present time."""
        networks = [network.value for network in proven.values()]
        await self.database.repeat(_WRITE, list(proven), networks)

    async def remove(self, payers: Sequence[bytes]) -> None:
        """Delete the entries of these payers."""
        await self.database.repeat(_DELETE, list(payers))

    async def sweep(self, *, older_than_s: float, limit: int) -> int:
        """Delete up to `limit` entries that are older; return the number deleted."""
        return len(await self.database.repeat(_SWEEP, older_than_s, limit))
