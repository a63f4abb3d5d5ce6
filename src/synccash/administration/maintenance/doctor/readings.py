"""What the doctor has read of an installation. Values only: `judgements` says what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from synccash.payments.rail import FloatAnswer, Operation, RailStatus
from synccash.rails.http.transport import TransportFault
from synccash.resilience.client_address import Network
from synccash.settings.live_mode import InsecureSetting


class Level(StrEnum):
    """How a finding is to be taken. Only FAILED makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `remedy`: what to do about it; None where nothing is to be done."""

    level: Level
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsReading:
    """`problems`: what no process starts with. `missing`: the settings that every process needs.

    `insecure`: what live mode refuses, unless its name is in `allowed`. `is_local`: the database is that of a
    `synccash up`.
    """

    problems: Sequence[str]
    insecure: Sequence[InsecureSetting]
    allowed: frozenset[str]
    missing: Sequence[str]
    is_local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseReading:
    """The PostgreSQL server. `weaknesses`: what a failure of it could lose."""

    version: str
    major: int
    is_standby: bool
    is_read_only: bool
    is_encrypted: bool
    weaknesses: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaReading:
    """The migrations in the database, and those of this program."""

    applied: frozenset[str]
    known: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReading:
    """The database role. `excess`: what it may do beyond its need; `missing`: tables and rights it lacks."""

    role: str
    excess: str | None
    missing: Sequence[str]
    is_local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionReading:
    """Whether keys are set, and whether the lookup key is the one of the stored orders."""

    has_keys: bool
    is_lookup_key_wrong: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePaymentsReading:
    """`missing`: how many of the `examined` newest payments are due and have no row in due_payments."""

    missing: int
    examined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyReading:
    """The Valkey server. `role`: as the server calls it; `may_write`: a key could be set and deleted."""

    version: str
    role: str
    may_write: bool
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RailReading:
    """One harmless call to a rail: a status inquiry about a reference that was never sent.

    `http_status` or `fault`: of the last request; both None where none was sent. `float_answer`: the
    balance, where the rail reports one.
    """

    rail: str
    operation: Operation
    host: str
    status: RailStatus
    code: str | None = None
    http_status: int | None = None
    fault: TransportFault | None = None
    float_answer: FloatAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The offset of another clock from ours, in seconds, and how inexact the comparison is."""

    source: str
    offset_s: float
    uncertainty_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReading:
    """The space of a file system, in bytes."""

    path: str
    free: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReading:
    """A TLS certificate. `where`: its file or address; `host`: the name that it must hold.

    `error`: why a client refuses it. `names`: its DNS names and addresses.
    """

    where: str
    host: str | None
    not_before: datetime | None = None
    not_after: datetime | None = None
    names: Sequence[str] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicReading:
    """What the public address is and answers, as seen from this host.

    `addresses`: what its name resolves to. `status`: of GET /health/live; `is_ours`: the answer is this
    service's. `proxy`: the Server or Via header of a proxy. `error`: why there is no answer.
    """

    url: str
    is_live: bool
    addresses: Sequence[str] = ()
    status: int | None = None
    is_ours: bool = False
    proxy: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyReading:
    """The trusted proxies of the settings, and signs of a proxy in front of the service."""

    trusted: Sequence[Network]
    signs: Sequence[str]
