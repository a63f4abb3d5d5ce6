"""What the doctor says about what it has read: which level, and what to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from synccash.administration.maintenance.doctor import judgements
from synccash.administration.maintenance.doctor.readings import (
    CertificateReading,
    ClockReading,
    DatabaseReading,
    DiskReading,
    DuePaymentsReading,
    EncryptionReading,
    Level,
    ProxyReading,
    PublicReading,
    RailReading,
    RoleReading,
    SchemaReading,
    SettingsReading,
    ValkeyReading,
)
from synccash.payments.rail import Operation, RailStatus
from synccash.rails.http.transport import TransportFault
from synccash.resilience.client_address import trusted_networks
from synccash.settings.live_mode import InsecureSetting

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)

SETTINGS = SettingsReading(problems=[], insecure=[], allowed=frozenset(), missing=[], is_local=False)
WEAK = [InsecureSetting("rail_http", "paystack_base_url is http://…", "use https://")]
DATABASE = DatabaseReading(
    version="18.1", major=18, is_standby=False, is_read_only=False, is_encrypted=True, weaknesses=[]
)
SCHEMA = SchemaReading(applied=frozenset({"0001", "0002"}), known=frozenset({"0001", "0002"}))
ROLE = RoleReading(role="synccash_service", excess=None, missing=[], is_local=False)
ENCRYPTION = EncryptionReading(has_keys=True, is_lookup_key_wrong=False)
DUE_PAYMENTS = DuePaymentsReading(missing=0, examined=10_000)
VALKEY = ValkeyReading(version="9.1.2", role="master", may_write=True)
RAIL = RailReading(
    rail="paystack",
    operation=Operation.COLLECT,
    host="api.paystack.co",
    status=RailStatus.NOT_FOUND,
    http_status=404,
)
CLOCK = ClockReading(source="the database", offset_s=0.01, uncertainty_s=0.001)
DISK = DiskReading(path="/var/lib/synccash", free=50 * 2**30, total=100 * 2**30)
CERTIFICATE = CertificateReading(
    where="pay.shop.example:443",
    host="pay.shop.example",
    not_before=NOW - 30 * DAY,
    not_after=NOW + 60 * DAY,
    names=["pay.shop.example"],
)
PUBLIC = PublicReading(
    url="https://pay.shop.example", is_live=True, addresses=["8.8.8.8"], status=200, is_ours=True
)
PROXY = ProxyReading(trusted=[], signs=[])

CASES = [
    (judgements.judge_settings, SETTINGS, {}, Level.OK, "valid"),
    (judgements.judge_settings, SETTINGS, {"problems": ["lease_s: …"]}, Level.FAILED, "lease_s"),
    (judgements.judge_settings, SETTINGS, {"insecure": WEAK}, Level.FAILED, "ALLOW_INSECURE=rail_http"),
    (
        judgements.judge_settings,
        SETTINGS,
        {"insecure": WEAK, "allowed": frozenset({"rail_http"})},
        Level.WARNING,
        "allowed by allow_insecure",
    ),
    (judgements.judge_settings, SETTINGS, {"missing": ["lookup_key"]}, Level.FAILED, "SYNCCASH_LOOKUP_KEY"),
    (judgements.judge_settings, SETTINGS, {"missing": ["x"], "is_local": True}, Level.OK, "synccash up"),
    (judgements.judge_database, DATABASE, {}, Level.OK, "with TLS"),
    (judgements.judge_database, DATABASE, {"major": 14}, Level.FAILED, "upgrade"),
    (judgements.judge_database, DATABASE, {"is_standby": True}, Level.FAILED, "target_session_attrs"),
    (judgements.judge_database, DATABASE, {"is_read_only": True}, Level.FAILED, "read-only"),
    (judgements.judge_schema, SCHEMA, {}, Level.OK, "0002"),
    (judgements.judge_schema, SCHEMA, {"applied": frozenset()}, Level.FAILED, "synccash migrate"),
    (judgements.judge_schema, SCHEMA, {"applied": frozenset({"0001"})}, Level.FAILED, "missing: 0002"),
    (
        judgements.judge_schema,
        SCHEMA,
        {"known": frozenset({"0001"})},
        Level.FAILED,
        "newer than this program",
    ),
    (judgements.judge_role, ROLE, {}, Level.OK, "no more"),
    (judgements.judge_role, ROLE, {"missing": ["INSERT on events"]}, Level.FAILED, "INSERT on events"),
    (judgements.judge_role, ROLE, {"excess": "It owns the tables. Give it a role"}, Level.WARNING, "Give it"),
    (judgements.judge_role, ROLE, {"excess": "x", "is_local": True}, Level.SKIPPED, "synccash up"),
    (judgements.judge_due_payments, DUE_PAYMENTS, {}, Level.OK, "workers find every"),
    (judgements.judge_due_payments, DUE_PAYMENTS, {"missing": 3}, Level.FAILED, "synccash recovery start"),
    (judgements.judge_encryption, ENCRYPTION, {}, Level.OK, "fit"),
    (judgements.judge_encryption, ENCRYPTION, {"has_keys": False}, Level.FAILED, "SYNCCASH_ENCRYPTION_KEYS"),
    (judgements.judge_encryption, ENCRYPTION, {"is_lookup_key_wrong": True}, Level.FAILED, "never changed"),
    (judgements.judge_valkey, VALKEY, {}, Level.OK, "takes writes"),
    (judgements.judge_valkey, VALKEY, {"version": "of unknown version"}, Level.OK, "takes writes"),
    (
        judgements.judge_valkey,
        VALKEY,
        {"role": "slave", "may_write": False, "refusal": "READONLY"},
        Level.FAILED,
        "Sentinels",
    ),
    (judgements.judge_valkey, VALKEY, {"may_write": False, "refusal": "NOPERM"}, Level.FAILED, "NOPERM"),
    (judgements.judge_callback_url, PUBLIC, {}, Level.OK, "reaches this service"),
    (
        judgements.judge_callback_url,
        PUBLIC,
        {"url": "http://localhost:8000"},
        Level.FAILED,
        "SYNCCASH_PUBLIC_URL",
    ),
    (
        judgements.judge_callback_url,
        PUBLIC,
        {"url": "http://localhost:8000", "is_live": False},
        Level.OK,
        "only rails on this host",
    ),
    (judgements.judge_callback_url, PUBLIC, {"url": "http://pay.shop.example"}, Level.FAILED, "without TLS"),
    (judgements.judge_callback_url, PUBLIC, {"addresses": []}, Level.FAILED, "DNS"),
    (judgements.judge_callback_url, PUBLIC, {"addresses": ["10.0.0.7"]}, Level.WARNING, "10.0.0.7"),
    (judgements.judge_callback_url, PUBLIC, {"error": "refused"}, Level.WARNING, "from outside"),
    (judgements.judge_callback_url, PUBLIC, {"is_ours": False}, Level.FAILED, "something else"),
    (judgements.judge_proxies, PROXY, {}, Level.OK, "own addresses"),
    (judgements.judge_proxies, PROXY, {"signs": ["Caddy"]}, Level.FAILED, "count as one address"),
    (judgements.judge_proxies, PROXY, {"trusted": trusted_networks("10.0.0.1")}, Level.OK, "10.0.0.1/32"),
    (
        judgements.judge_proxies,
        PROXY,
        {"trusted": trusted_networks("10.0.0.1"), "signs": ["Caddy"]},
        Level.OK,
        "Caddy",
    ),
    (judgements.judge_proxies, PROXY, {"trusted": trusted_networks("0.0.0.0/0")}, Level.FAILED, "any client"),
]


@pytest.mark.parametrize(("judge", "reading", "changes", "level", "told"), CASES)
def test_a_reading_has_its_level_and_its_remedy(judge, reading, changes, level, told):
    findings = list(judge(replace(reading, **changes)))
    worst = [finding for finding in findings if finding.level is level]
    assert worst, findings
    assert any(told in f"{finding.message} {finding.remedy}" for finding in worst), findings
    assert all(finding.remedy for finding in findings if finding.level is Level.FAILED)
    assert level is Level.FAILED or not any(finding.level is Level.FAILED for finding in findings)


@pytest.mark.parametrize(
    ("changes", "level", "told"),
    [
        ({}, Level.OK, "accepts the credentials"),
        ({"http_status": 401}, Level.FAILED, "refuses the credentials"),
        ({"http_status": 403}, Level.FAILED, "address of this host"),
        ({"http_status": 429}, Level.WARNING, "limits the rate"),
        ({"http_status": 503}, Level.FAILED, "status page"),
        ({"http_status": 404, "status": RailStatus.NO_INFORMATION}, Level.FAILED, "cannot be read"),
        (
            {"http_status": 404, "status": RailStatus.NO_INFORMATION, "code": "http_404"},
            Level.FAILED,
            "cannot be read",
        ),
        (
            {"http_status": 404, "status": RailStatus.NO_INFORMATION, "code": "4000"},
            Level.OK,
            "accepts the credentials",
        ),
        ({"http_status": None, "code": "no_credentials"}, Level.FAILED, "nothing was sent"),
        ({"http_status": None, "fault": TransportFault.UNREACHABLE}, Level.FAILED, "DNS"),
        ({"http_status": None, "fault": TransportFault.CONNECTION_LOST}, Level.FAILED, "connection_lost"),
    ],
)
def test_a_rail_is_judged_by_its_answer(changes, level, told):
    [finding] = judgements.judge_rails([replace(RAIL, **changes)])
    assert finding.level is level
    assert told in f"{finding.message} {finding.remedy}"


def test_a_shell_without_rails_fails_nothing():
    assert [finding.level for finding in judgements.judge_rails([])] == [Level.SKIPPED]


@pytest.mark.parametrize(
    ("offset_s", "uncertainty_s", "level", "told"),
    [
        (0.2, 0.5, Level.OK, "agrees"),
        (2.4, 2.0, Level.OK, "agrees"),
        (-3.0, 0.5, Level.WARNING, "3.0 s ahead of the database"),
        (90.0, 0.5, Level.FAILED, "90.0 s behind the database"),
    ],
)
def test_a_clock_is_judged_by_the_difference_that_is_sure(offset_s, uncertainty_s, level, told):
    [finding] = judgements.judge_clock(
        [replace(CLOCK, offset_s=offset_s, uncertainty_s=uncertainty_s)],
    )
    assert (finding.level, told in finding.message) == (level, True)


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (50 * 2**30, 100 * 2**30, Level.OK),
        (3 * 2**30, 500 * 2**30, Level.OK),
        (2**30, 500 * 2**30, Level.WARNING),
        (2**30, 4 * 2**30, Level.OK),
        (2**20, 2**30, Level.FAILED),
    ],
)
def test_a_disk_is_judged_by_its_free_space(free, total, level):
    [finding] = judgements.judge_disk([replace(DISK, free=free, total=total)])
    assert finding.level is level


@pytest.mark.parametrize(
    ("changes", "level", "told"),
    [
        ({}, Level.OK, "valid until 2027-01-27"),
        ({"not_after": NOW - DAY}, Level.FAILED, "expired on 2026-11-27"),
        ({"not_after": NOW + 3 * DAY}, Level.WARNING, "3 days"),
        ({"not_before": NOW + DAY}, Level.FAILED, "valid from"),
        ({"error": "clients refuse the certificate: self-signed"}, Level.FAILED, "public CA"),
        ({"error": "refused", "not_after": NOW - DAY}, Level.FAILED, "expired"),
        ({"names": ["*.shop.example"]}, Level.OK, "valid"),
        ({"names": ["shop.example"]}, Level.FAILED, "not pay.shop.example"),
        ({"names": [], "host": None}, Level.OK, "valid"),
    ],
)
def test_a_certificate_is_judged_by_its_dates_and_names(changes, level, told):
    [finding] = judgements.judge_certificates([replace(CERTIFICATE, **changes)], NOW)
    assert (finding.level, told in f"{finding.message} {finding.remedy}") == (level, True)


def test_a_weakness_of_the_database_is_a_warning_with_its_remedy():
    *_, finding = judgements.judge_database(
        replace(DATABASE, weaknesses=["fsync is off: a crash loses commits; set fsync = on"])
    )
    assert (finding.level, finding.remedy) == (Level.WARNING, "set fsync = on")
