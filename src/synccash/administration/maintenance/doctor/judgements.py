"""Judges what the doctor has read. Pure functions: a reading in, findings out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from synccash.administration.maintenance.doctor.readings import (
    CertificateReading,
    ClockReading,
    DatabaseReading,
    DiskReading,
    DuePaymentsReading,
    EncryptionReading,
    Finding,
    Level,
    ProxyReading,
    PublicReading,
    RailReading,
    RoleReading,
    SchemaReading,
    SettingsReading,
    ValkeyReading,
)
from synccash.payments.rail import RailStatus
from synccash.rails.http.transport import TransportFault
from synccash.resilience.client_address import Network
from synccash.servers.binaries import OLDEST_POSTGRES, OLDEST_VALKEY
from synccash.settings.live_mode import is_local_host

Findings = Iterator[Finding]
_CLOCK_WARNING_S, _CLOCK_FAILED_S = 1.0, 5.0
_DISK_WARNING, _DISK_FAILED = 2 * 2**30, 256 * 2**20
_DISK_WARNING_SHARE = 0.1
_RENEW_WITHIN = timedelta(days=14)
_PUBLISH = "set SYNCCASH_PUBLIC_URL to the https:// address under which providers reach this service"


def judge_settings(reading: SettingsReading) -> Findings:
    """Judge whether processes start with the settings."""
    for problem in reading.problems:
        yield Finding(Level.FAILED, problem, "correct the setting; `synccash config show` tells its source")
    if not reading.is_local:
        for name in reading.missing:
            variable = f"SYNCCASH_{name.upper()}"
            yield Finding(
                Level.FAILED, f"{name} is not set", f"set {variable} as for the service's processes"
            )
    for one in reading.insecure:
        if one.name in reading.allowed:
            yield Finding(Level.WARNING, f"allowed by allow_insecure: {one.message}", one.remedy)
        else:
            remedy = f"{one.remedy}. To allow it: SYNCCASH_ALLOW_INSECURE={one.name}"
            yield Finding(Level.FAILED, one.message, remedy)
    is_refused = any(one.name not in reading.allowed for one in reading.insecure)
    if not reading.problems and not is_refused and (reading.is_local or not reading.missing):
        where = (
            "; this shell uses the database of the `synccash up` in this folder" if reading.is_local else ""
        )
        yield Finding(Level.OK, f"the settings are valid{where}")


def judge_database(reading: DatabaseReading) -> Findings:
    """Judge whether the server takes the service's commits, and keeps them."""
    if reading.major < OLDEST_POSTGRES:
        yield Finding(
            Level.FAILED,
            f"PostgreSQL {reading.version} is too old",
            f"upgrade it to {OLDEST_POSTGRES} or newer",
        )
    elif reading.is_standby:
        yield Finding(
            Level.FAILED,
            "the server is a standby, which takes no commits",
            "point SYNCCASH_DATABASE_URL to the primary, or name all hosts and target_session_attrs=primary",
        )
    elif reading.is_read_only:
        yield Finding(
            Level.FAILED,
            "transactions are read-only",
            "ALTER ROLE … RESET default_transaction_read_only, or the same of the database",
        )
    else:
        tls = "with TLS" if reading.is_encrypted else "without TLS"
        yield Finding(Level.OK, f"PostgreSQL {reading.version} takes writes; connected {tls}")
    for weakness in reading.weaknesses:
        what, _, remedy = weakness.partition("; ")
        yield Finding(Level.WARNING, what, remedy or None)


def judge_schema(reading: SchemaReading) -> Findings:
    """Judge whether the schema is this program's."""
    missing, newer = sorted(reading.known - reading.applied), sorted(reading.applied - reading.known)
    if newer:
        yield Finding(
            Level.FAILED,
            f"the schema is newer than this program: it has {', '.join(newer)}",
            "install the version of synccash that migrated it, on every host",
        )
    if missing:
        what = (
            "the database is empty"
            if not reading.applied
            else f"migrations are missing: {', '.join(missing)}"
        )
        yield Finding(Level.FAILED, what, "run `synccash migrate`")
    if not missing and not newer:
        yield Finding(Level.OK, f"the schema is up to date ({max(reading.known)})")


def judge_role(reading: RoleReading) -> Findings:
    """Judge the rights of the database role: enough for the service, and no more."""
    if reading.is_local:
        yield Finding(Level.SKIPPED, "this shell connects as the owner of the database of `synccash up`")
        return
    for missing in reading.missing:
        yield Finding(
            Level.FAILED,
            f"the role {reading.role} lacks {missing}",
            "run `synccash migrate` with SYNCCASH_MIGRATION_DATABASE_URL, which gives it its rights",
        )
    if reading.excess is not None:
        what, _, remedy = reading.excess.partition(". ")
        yield Finding(Level.WARNING, what, remedy)
    if not reading.missing and reading.excess is None:
        yield Finding(Level.OK, f"the role {reading.role} has the rights that the service needs, and no more")


def judge_due_payments(reading: DuePaymentsReading) -> Findings:
    """Judge whether workers find every payment that is due."""
    if reading.missing:
        yield Finding(
            Level.FAILED,
            f"{reading.missing} open payments of the newest {reading.examined} are not in due_payments, and "
            "no worker finds them: their rows were written without triggers",
            "run `synccash recovery start --reason TEXT`, which holds all sends and writes the rows; see "
            "Restoring a backup in docs/operating.md",
        )
    else:
        yield Finding(Level.OK, f"workers find every open payment of the newest {reading.examined}")


def judge_encryption(reading: EncryptionReading) -> Findings:
    """Judge whether stored personal data can be read and found."""
    if not reading.has_keys:
        yield Finding(
            Level.FAILED,
            "no encryption keys are set, so stored numbers and references cannot be read",
            "set SYNCCASH_ENCRYPTION_KEYS and SYNCCASH_LOOKUP_KEY as for the service's processes",
        )
    elif reading.is_lookup_key_wrong:
        yield Finding(
            Level.FAILED,
            "lookup_key is not the key that the stored orders were hashed with",
            "set SYNCCASH_LOOKUP_KEY to the same key as for the other processes; it is never changed",
        )
    else:
        yield Finding(Level.OK, "the keys fit the stored orders")


def judge_valkey(reading: ValkeyReading) -> Findings:
    """Judge whether Valkey takes the service's writes."""
    major = reading.version.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST_VALKEY:
        yield Finding(
            Level.FAILED, f"Valkey {reading.version} is too old", f"upgrade it to {OLDEST_VALKEY} or newer"
        )
    if reading.may_write:
        yield Finding(Level.OK, f"Valkey {reading.version} takes writes")
    elif reading.role in ("slave", "replica"):
        yield Finding(
            Level.FAILED,
            "the server is a replica, which takes no writes",
            "point SYNCCASH_VALKEY_URL to the primary, or to the Sentinels: valkey+sentinel://HOST,HOST/NAME",
        )
    else:
        yield Finding(
            Level.FAILED,
            f"Valkey refuses to write: {reading.refusal}",
            "NOPERM: give the user the rights of docs/operating.md; OOM or MISCONF: see its memory and disk",
        )


_FAULTS: Mapping[TransportFault, tuple[str, str]] = {
    TransportFault.TIMEOUT: (
        "did not answer in time",
        "check the firewall and the provider's status page",
    ),
    TransportFault.CONNECT_TIMEOUT: (
        "cannot be connected to in time",
        "allow outgoing connections to this host and port in the firewall",
    ),
    TransportFault.UNREACHABLE: (
        "cannot be reached: its name is unknown, or it refuses the connection",
        "check the address in the settings, DNS, and the provider's status page",
    ),
    TransportFault.TLS: (
        "has no TLS certificate that this host trusts",
        "check the address, this host's CA certificates, and whether a proxy opens the connection",
    ),
    TransportFault.REDIRECTED: (
        "redirects to another address",
        "write the final address into the settings; redirects are not followed",
    ),
}
_OTHER_FAULT = ("gave no answer that could be read", "check the address and the provider's status page")


def judge_rails(readings: Sequence[RailReading]) -> Findings:
    """Judge each rail by its answer to a harmless call."""
    if not readings:
        yield Finding(Level.SKIPPED, "no rail is configured in the settings of this shell")
    for reading in readings:
        yield _judge_rail(reading)


def _judge_rail(reading: RailReading) -> Finding:
    what = f"{reading.rail} {reading.operation}"
    if reading.fault is not None:
        message, remedy = _FAULTS.get(reading.fault, _OTHER_FAULT)
        return Finding(Level.FAILED, f"{what}: {reading.host} {message} ({reading.fault})", remedy)
    if reading.http_status is None:
        return Finding(
            Level.FAILED, f"{what}: nothing was sent ({reading.code})", "check the settings of the rail"
        )
    for applies, level, message, remedy in _STATUSES:
        if applies(reading.http_status):
            code = f", code {reading.code}" if reading.code else ""
            return Finding(
                level,
                f"{what}: {message} (HTTP {reading.http_status}{code})",
                remedy.format(rail=reading.rail, host=reading.host),
            )
    if reading.status is RailStatus.NO_INFORMATION and not _is_own_code(reading.code):
        return Finding(
            Level.FAILED,
            f"{what}: the answer cannot be read (HTTP {reading.http_status}, code {reading.code})",
            f"check the address and the account in the settings of {reading.rail}: {reading.host} answers, "
            "but not as this provider's API does",
        )
    return Finding(Level.OK, f"{what}: {reading.host} accepts the credentials{_float_text(reading)}")


def _is_own_code(code: str | None) -> bool:
    """Tell whether a code is the provider's own: some publish no answer for a reference that they do not
    know, and a code of theirs still proves that their API has read the request."""
    return code is not None and not code.startswith(("http_", "unreadable"))


_STATUSES: Sequence[tuple[Callable[[int], bool], Level, str, str]] = (
    (
        lambda status: status in (401, 403),
        Level.FAILED,
        "the provider refuses the credentials",
        "check the credentials in the settings of {rail}; some providers also refuse addresses that they do "
        "not know: ask for the address of this host to be allowed",
    ),
    (
        lambda status: status == 429,
        Level.WARNING,
        "the provider limits the rate",
        "run the doctor again in a minute",
    ),
    (
        lambda status: status >= 500,
        Level.FAILED,
        "the provider answers with an error of its own",
        "see the provider's status page; nothing is to be changed here",
    ),
)


def _float_text(reading: RailReading) -> str:
    answer = reading.float_answer
    if answer is None:
        return ""
    return (
        "; the balance can be read"
        if answer.available is not None
        else (f"; the balance cannot be read ({answer.provider_code})")
    )


def judge_clock(readings: Sequence[ClockReading]) -> Findings:
    """Judge this host's clock by others'. A difference within the uncertainty proves nothing."""
    for reading in readings:
        sure_s = max(abs(reading.offset_s) - reading.uncertainty_s, 0.0)
        ahead = "behind" if reading.offset_s > 0 else "ahead of"
        if sure_s < _CLOCK_WARNING_S:
            yield Finding(Level.OK, f"this host's clock agrees with {reading.source}")
            continue
        yield Finding(
            Level.FAILED if sure_s >= _CLOCK_FAILED_S else Level.WARNING,
            f"this host's clock is {abs(reading.offset_s):.1f} s {ahead} {reading.source}",
            "synchronise both clocks (chrony, systemd-timesyncd): webhook signatures, tokens and "
            "certificates depend on them",
        )


def judge_disk(readings: Sequence[DiskReading]) -> Findings:
    """Judge the free space of the file systems that the service writes to."""
    for reading in readings:
        free = f"{reading.free / 2**30:.1f} GiB of {reading.total / 2**30:.1f} GiB are free at {reading.path}"
        if reading.free < _DISK_FAILED:
            level = Level.FAILED
        elif reading.free < min(_DISK_WARNING, reading.total * _DISK_WARNING_SHARE):
            level = Level.WARNING
        else:
            yield Finding(Level.OK, free)
            continue
        yield Finding(level, f"only {free}", "free space, or move the folder to a larger file system")


def judge_certificates(readings: Sequence[CertificateReading], now: datetime) -> Findings:
    """Judge the certificates that clients of this service see."""
    if not readings:
        yield Finding(
            Level.SKIPPED, "no certificate: tls_certificate is not set, and public_url is not https"
        )
    for reading in readings:
        yield _judge_certificate(reading, now)


def _judge_certificate(reading: CertificateReading, now: datetime) -> Finding:
    where, renew = reading.where, "renew the certificate, then restart `synccash serve` or reload the proxy"
    if reading.not_after is not None and reading.not_after <= now:
        return Finding(
            Level.FAILED, f"{where}: the certificate expired on {reading.not_after:%Y-%m-%d}", renew
        )
    if reading.not_before is not None and reading.not_before > now:
        return Finding(
            Level.FAILED,
            f"{where}: the certificate is valid from {reading.not_before:%Y-%m-%d %H:%M} UTC on",
            "check the clock of this host and the certificate",
        )
    if reading.error is not None:
        return Finding(
            Level.FAILED,
            f"{where}: {reading.error}",
            "use a certificate of a public CA with the whole chain; providers refuse any other",
        )
    if reading.host is not None and not _is_named(reading.host, reading.names):
        return Finding(
            Level.FAILED,
            f"{where}: the certificate is for {', '.join(reading.names) or 'no name'}, not {reading.host}",
            "use a certificate for the host of public_url",
        )
    if reading.not_after is not None and reading.not_after - now < _RENEW_WITHIN:
        days = (reading.not_after - now).days
        return Finding(Level.WARNING, f"{where}: the certificate expires in {days} days", renew)
    until = f" until {reading.not_after:%Y-%m-%d}" if reading.not_after else ""
    return Finding(Level.OK, f"{where}: the certificate is valid{until}")


def _is_named(host: str, names: Sequence[str]) -> bool:
    """Return whether a certificate with these names covers the host; `*.` stands for one label."""
    wanted = host.lower().rstrip(".")
    parent = "*." + wanted.partition(".")[2]
    return any(name.lower() in (wanted, parent) for name in names)


def judge_callback_url(reading: PublicReading) -> Findings:
    """Judge whether providers can send callbacks to the public address."""
    is_https, host = reading.url.lower().startswith("https://"), _host_of(reading.url)
    local = is_local_host(host)
    if local and not reading.is_live:
        yield Finding(Level.OK, f"public_url is {reading.url}; only rails on this host can send callbacks")
        return
    if local:
        yield Finding(Level.FAILED, f"public_url is {reading.url}, which no provider can reach", _PUBLISH)
        return
    if reading.is_live and not is_https:
        yield Finding(
            Level.FAILED, f"public_url is {reading.url}, without TLS: most providers refuse it", _PUBLISH
        )
    if not reading.addresses:
        yield Finding(
            Level.FAILED,
            f"the name {host} of public_url cannot be resolved",
            "create its DNS record, or correct public_url",
        )
        return
    private = [text for text in reading.addresses if not _is_public(text)]
    if private and reading.is_live:
        yield Finding(
            Level.WARNING,
            f"here {host} resolves to {', '.join(private)}, which the internet cannot reach",
            "make sure that public DNS names a public address; try it from outside",
        )
    yield _judge_answer(reading)


def _judge_answer(reading: PublicReading) -> Finding:
    probe = f"GET {reading.url.rstrip('/')}/health/live"
    if reading.error is not None:
        return Finding(
            Level.WARNING,
            f"{probe} from this host fails: {reading.error}",
            "start `synccash serve` and the proxy. If this host may not call its own public address, try it "
            "from outside",
        )
    if not reading.is_ours:
        return Finding(
            Level.FAILED,
            f"{probe} is answered by something else (HTTP {reading.status})",
            "let the proxy pass requests of public_url to `synccash serve`, without changing the path",
        )
    return Finding(Level.OK, f"{probe} reaches this service")


def _host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_public(text: str) -> bool:
    return ip_address(text.partition("%")[0]).is_global


def judge_proxies(reading: ProxyReading) -> Findings:
    """Judge whether limits and address lists see the clients' addresses."""
    everyone = [str(network) for network in reading.trusted if network.prefixlen == 0]
    signs = "; ".join(reading.signs)
    if everyone:
        yield Finding(
            Level.FAILED,
            f"trusted_proxies has {', '.join(everyone)}: any client can claim any address, and so pass "
            "limits and address lists",
            "name only the addresses of your own proxies in SYNCCASH_TRUSTED_PROXIES",
        )
    elif reading.signs and not reading.trusted:
        yield Finding(
            Level.FAILED,
            f"a proxy is in front ({signs}), but trusted_proxies is empty: all clients count as one address",
            "set SYNCCASH_TRUSTED_PROXIES to the proxy's address, such as 127.0.0.1, and let the proxy set "
            "X-Forwarded-For",
        )
    elif reading.trusted and not reading.signs:
        yield Finding(Level.OK, f"trusted_proxies is {_list(reading.trusted)}; no proxy was seen from here")
    elif reading.trusted:
        yield Finding(Level.OK, f"a proxy is in front ({signs}); trusted_proxies is {_list(reading.trusted)}")
    else:
        yield Finding(Level.OK, "no sign of a proxy in front; clients count by their own addresses")


def _list(networks: Sequence[Network]) -> str:
    return ", ".join(map(str, networks))
