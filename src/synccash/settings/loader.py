"""Loads the settings: `SYNCCASH_*` variables override `synccash.toml`, which overrides the defaults.

`SYNCCASH_DATABASE_URL_FILE=/run/secrets/db` reads the value from a file. Tables of the TOML file are
flattened: `[mtn_momo] base_url` is `mtn_momo_base_url`. Unknown keys and invalid values stop the start.
"""

import difflib
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import msgspec
from msgspec import Meta

from synccash.payments.balance import read_fees
from synccash.payments.references import ReferenceKey
from synccash.resilience.client_address import trusted_networks
from synccash.resilience.profiles import PROFILES
from synccash.settings.allowances import read_allowances
from synccash.settings.encryption_keys import EncryptionKeys, read_key
from synccash.settings.name_servers import read_name_servers
from synccash.settings.profiles import overridden
from synccash.settings.request_limits import REQUEST_LIMITS
from synccash.settings.secret import URL_HINT, Secret, SecretUrl, decode_secret, revealed

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Pesewas = Annotated[int, Meta(ge=1, le=10**12)]
_AUDIT_KEY_MIN = 32
_VALKEY_SCHEMES = (
    *("valkey", "valkeys", "redis", "rediss", "unix"),
    *("valkey+sentinel", "valkeys+sentinel", "redis+sentinel", "rediss+sentinel"),
)
Share = Annotated[float, Meta(ge=0, le=1)]
DeclaredEnvironment = Literal["live", "test"]


CONFIGURATION = Path("synccash.toml")
"""The configuration file, in the current folder."""


class SettingsError(Exception):
    """One or more settings are invalid; the text names each with what was expected."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting with its default. Times in seconds."""

    database_url: SecretUrl | None = None
    migration_database_url: SecretUrl | None = None
    database_runtime_role: str | None = None
    database_pool_size: Annotated[int, Meta(ge=2, le=1_000)] = 16
    database_prepared_statements: Literal["on", "off"] = "on"
    database_statement_timeout_s: Annotated[float, Meta(ge=0.1, le=300)] = 5.0
    migration_lock_timeout_s: Annotated[float, Meta(ge=0.001, le=60)] = 0.05
    migration_timeout_s: Seconds = 3_600.0
    valkey_url: SecretUrl | None = None
    public_url: str = "http://localhost:8000"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    metrics_port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    worker_port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    allow_insecure: str = ""
    admin_key: Secret | None = None
    operator_token: Secret | None = None
    break_glass: bool = False
    four_eyes: Literal["on", "off"] = "on"
    four_eyes_payout_above: Annotated[int, Meta(ge=0, le=10**12)] = 50_000
    four_eyes_refund_above: Annotated[int, Meta(ge=0, le=10**12)] = 50_000
    four_eyes_valid_s: Seconds = 28_800.0
    api_url: str | None = None
    installation_key: Secret | None = None
    encryption_keys: Secret | None = None
    lookup_key: Secret | None = None
    audit_key: Secret | None = None
    audit_former_key: Secret | None = None
    backup_key: Secret | None = None
    traces_url: SecretUrl | None = None
    traces_share: Share = 1.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    processes: Annotated[int, Meta(ge=1, le=10_000)] = 1
    idempotency_retention_days: Annotated[int, Meta(ge=1, le=3_650)] = 30
    retention_days: Annotated[int, Meta(ge=30, le=36_500)] | None = None
    refundable_days: Annotated[int, Meta(ge=1, le=3_650)] = 180

    request_deadline_s: Seconds = 8.0
    body_timeout_s: Seconds = 10.0
    drain_s: Annotated[float, Meta(ge=0, le=3_600)] = 5.0
    attempt_timeout_s: Seconds = 5.0
    lease_s: Seconds = 15.0
    heartbeat_s: Seconds = 5.0
    settle_s: Seconds = 60.0
    resend_pause_max_s: Seconds = 300.0
    queue_retry_s: Seconds = 5.0
    recovery_search_attempts: Annotated[int, Meta(ge=1, le=100)] = 8
    surplus_refund: Literal["auto", "manual"] = "auto"
    breaker_open_s: Seconds | None = None
    profiles: str = ""
    peer_open: Literal["adopt", "hint"] = "adopt"
    ladder: Literal["production", "sandbox"] = "production"
    worker_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 64

    mtn_momo_environment: DeclaredEnvironment | None = None
    mtn_momo_base_url: str | None = None
    mtn_momo_target_environment: str = "mtnghana"
    mtn_momo_platform: Literal["legacy", "new"] = "new"
    mtn_momo_account: str = "main"
    mtn_momo_currency: Literal["GHS", "EUR"] = "GHS"
    mtn_momo_collection_user: str | None = None
    mtn_momo_collection_key: Secret | None = None
    mtn_momo_collection_subscription_key: Secret | None = None
    mtn_momo_disbursement_user: str | None = None
    mtn_momo_disbursement_key: Secret | None = None
    mtn_momo_disbursement_subscription_key: Secret | None = None
    mtn_momo_former_account: str | None = None
    mtn_momo_former_collection_user: str | None = None
    mtn_momo_former_collection_key: Secret | None = None
    mtn_momo_former_collection_subscription_key: Secret | None = None
    mtn_momo_former_disbursement_user: str | None = None
    mtn_momo_former_disbursement_key: Secret | None = None
    mtn_momo_former_disbursement_subscription_key: Secret | None = None
    mtn_momo_status_per_s: Annotated[float, Meta(gt=0, le=1_000)] = 10.0
    mtn_momo_inquiry_from_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0

    paystack_environment: DeclaredEnvironment | None = None
    paystack_base_url: str = "https://api.paystack.co"
    paystack_account: str = "main"
    paystack_secret_key: Secret | None = None
    paystack_email: str | None = None
    paystack_former_account: str | None = None
    paystack_former_secret_key: Secret | None = None
    paystack_callback_token: Secret | None = None
    paystack_inquiry_from_s: Annotated[float, Meta(ge=0, le=3_600)] = 10.0

    hubtel_environment: DeclaredEnvironment | None = None
    hubtel_receive_url: str = "https://rmp.hubtel.com"
    hubtel_status_url: str = "https://api-txnstatus.hubtel.com"
    hubtel_send_url: str = "https://smp.hubtel.com"
    hubtel_send_status_url: str = "https://smrsc.hubtel.com"
    hubtel_pos_sales_id: str | None = None
    hubtel_prepaid_deposit_id: str | None = None
    hubtel_client_id: Secret | None = None
    hubtel_client_secret: Secret | None = None
    hubtel_former_pos_sales_id: str | None = None
    hubtel_former_prepaid_deposit_id: str | None = None
    hubtel_former_client_id: Secret | None = None
    hubtel_former_client_secret: Secret | None = None
    hubtel_inquiry_from_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    hubtel_prompt_window_s: Seconds = 600.0

    pawapay_environment: DeclaredEnvironment | None = None
    pawapay_base_url: str | None = None
    pawapay_token: Secret | None = None
    pawapay_callback_token: Secret | None = None
    pawapay_account: str = "main"
    pawapay_former_account: str | None = None
    pawapay_former_token: Secret | None = None
    pawapay_status_per_s: Annotated[float, Meta(gt=0, le=1_000)] = 20.0

    float_poll_s: Annotated[float, Meta(ge=1, le=3_600)] = 60.0
    mtn_momo_float_alarm: Pesewas | None = None
    paystack_float_alarm: Pesewas | None = None
    pawapay_float_alarm: Pesewas | None = None

    routing_costs: str = ""
    routing_preferences: str = ""
    routing_splits: str = ""
    routing_cost_weight: Share = 0.05
    routing_preference_step: Share = 0.1
    routing_probe_share: Share = 0.05
    routing_probe_every_s: Seconds = 1.0
    network_memory_days: Annotated[int, Meta(ge=0, le=3_650)] = 180
    health_half_life_s: Seconds = 30.0
    health_slow_s: Seconds = 2.0
    health_degraded_below: Share = 0.8
    health_recovered_above: Share = 0.9
    health_hold_s: Annotated[float, Meta(ge=0, le=3_600)] = 10.0

    balance_fees: str = ""

    risk_blocked_payers: str = ""
    risk_allowed_payers: str = ""
    risk_ceiling: Pesewas | None = None
    risk_review_from: Pesewas | None = None
    risk_payer_max_payments: Annotated[int, Meta(ge=1)] | None = None
    risk_payer_max_amount: Pesewas | None = None
    risk_payer_window_s: Seconds = 3_600.0
    risk_merchant_max_payments: Annotated[int, Meta(ge=1)] | None = None
    risk_merchant_max_amount: Pesewas | None = None
    risk_merchant_window_s: Seconds = 3_600.0
    risk_tier_ceilings: str = ""
    risk_default_tier: str = "minimum"
    risk_tier_merchants: str = ""
    risk_tier_window_s: Seconds = 86_400.0
    risk_duplicate_window_s: Seconds | None = None
    risk_duplicate: Literal["review", "decline"] = "review"
    fraud_url: SecretUrl | None = None
    fraud_key: Secret | None = None
    fraud_timeout_s: Seconds = 2.0
    fraud_outage: Literal["allow", "review", "decline"] = "allow"
    fraud_decline_above: Pesewas | None = None
    payout_ceiling: Pesewas = 100_000
    payout_review_from: Pesewas | None = None
    payout_payee_max_payouts: Annotated[int, Meta(ge=1)] = 10
    payout_payee_max_amount: Pesewas = 500_000
    payout_payee_window_s: Seconds = 86_400.0
    payout_merchant_max_payouts: Annotated[int, Meta(ge=1)] | None = None
    payout_merchant_max_amount: Pesewas = 2_000_000
    payout_merchant_window_s: Seconds = 86_400.0
    payout_merchants: str = ""
    payout_blocked_payees: str = ""
    payout_allowed_payees: str = ""
    payout_duplicate_window_s: Seconds | None = None
    payout_duplicate: Literal["review", "decline"] = "review"
    payout_fraud_outage: Literal["allow", "review", "decline"] = "review"

    rate_limits: str = ""
    trusted_proxies: str = ""

    console: bool = True

    webhook_private_addresses: bool = False
    webhook_timeout_s: Seconds = 10.0
    webhook_port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    webhook_name_servers: str = ""
    webhook_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 256
    webhook_merchant_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 32
    webhook_merchant_per_s: Annotated[float, Meta(gt=0, le=10_000)] = 100.0

    def __post_init__(self) -> None:
        # A constructor converts nothing: without this, a plain text given for a secret would be printed.
        for name, kind in _SECRET_TYPES.items():
            value = getattr(self, name)
            if isinstance(value, str):
                msgspec.structs.force_setattr(self, name, kind(value))


FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}
_ENVIRONMENT = "_environment"
RAILS_WITH_SETTINGS = tuple(
    name.removesuffix(_ENVIRONMENT)
    for name, field in FIELDS.items()
    if name.endswith(_ENVIRONMENT) and field.type == (DeclaredEnvironment | None)
)
"""The rails that can be set up: each declares whether its account moves real money."""
_SECRET_TYPES: Mapping[str, type[Secret]] = {
    name: kind
    for name, field in FIELDS.items()
    for kind in get_args(field.type)
    if isinstance(kind, type) and issubclass(kind, Secret)
}
SECRETS = frozenset(_SECRET_TYPES)
"""The settings that are printed masked."""


def _check_url(url: SecretUrl | None, *schemes: str) -> None:
    if not url:
        return
    if url.scheme not in schemes:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"expected a URL that begins with {expected}")
    if not url.readable:
        raise ValueError(f"cannot be read as a URL; {URL_HINT}")


def _check_audit_key(key: Secret | None) -> None:
    if key is not None and len(key.reveal()) < _AUDIT_KEY_MIN:
        raise ValueError(
            f"expected at least {_AUDIT_KEY_MIN} characters; generate it with `openssl rand -hex 32`"
        )


_PARSERS: Mapping[str, Callable[[Any], object]] = {
    "database_url": lambda url: _check_url(url, "postgresql", "postgres"),
    "migration_database_url": lambda url: _check_url(url, "postgresql", "postgres"),
    "valkey_url": lambda url: _check_url(url, *_VALKEY_SCHEMES),
    "fraud_url": lambda url: _check_url(url, "https", "http"),
    "traces_url": lambda url: _check_url(url, "https", "http"),
    "installation_key": lambda key: key and ReferenceKey.of(revealed(key)),
    "encryption_keys": lambda keys: keys and EncryptionKeys.of(revealed(keys)),
    "lookup_key": lambda key: key and read_key(revealed(key)),
    "backup_key": lambda key: key and read_key(revealed(key)),
    "audit_key": lambda key: _check_audit_key(key),
    "audit_former_key": lambda key: _check_audit_key(key),
    "allow_insecure": read_allowances,
    "profiles": lambda text: overridden(PROFILES, text, RAILS_WITH_SETTINGS),
    "rate_limits": REQUEST_LIMITS.overridden,
    "balance_fees": read_fees,
    "trusted_proxies": trusted_networks,
    "webhook_name_servers": read_name_servers,
}
"""Parsers of the settings whose text has a syntax of its own; each raises ValueError."""


def former_keys(rail: str) -> dict[str, str]:
    """Return the keys of a rail that can have a former value, each with the key of that value.

    `paystack_secret_key` has its former value in `paystack_former_secret_key`.
    """
    prefix = f"{rail}_former_"
    return {f"{rail}_{name.removeprefix(prefix)}": name for name in FIELDS if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The effective settings, and where each key that is not at its default came from."""

    settings: Settings
    sources: Mapping[str, str]

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """Yield each key with its value, masked if it is a secret, and its source."""
        for name in FIELDS:
            value = getattr(self.settings, name)
            yield name, "" if value is None else str(value), self.sources.get(name, "default")


def load_settings(environment: Mapping[str, str], file: Path | None = None) -> LoadedSettings:
    """Merge the sources. Raises SettingsError that lists all invalid keys."""
    raw: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    for name, value, source in _given(environment, file, problems):
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{name} ({source}) is not a setting{hint}")
            continue
        raw[name], sources[name] = value, source
    values: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            values[name] = msgspec.convert(
                value, FIELDS[name].type, strict=not isinstance(value, str), dec_hook=decode_secret
            )
        except msgspec.ValidationError as error:
            problems.append(f"{name} ({sources[name]}): {error}{_expected(name)}")
    for name, read in _PARSERS.items():
        try:
            read(values.get(name, FIELDS[name].default))
        except ValueError as error:
            problems.append(f"{name} ({sources[name]}): {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return LoadedSettings(Settings(**values), sources)


def convert_settings(values: Mapping[str, Any]) -> Settings:
    """Convert settings that are written as texts, such as those of a sandbox's accounts.

    Raises msgspec.ValidationError for a value that cannot be used.
    """
    return msgspec.convert(values, Settings, strict=False, dec_hook=decode_secret)


def _given(
    environment: Mapping[str, str], file: Path | None, problems: list[str]
) -> Iterator[tuple[str, Any, str]]:
    """Yield each key as it is given, the later source last. No secret leaves this function as plain text."""
    for name, value, source in (*_from_file(file, problems), *_from_environment(environment, problems)):
        kind = _SECRET_TYPES.get(name)
        yield name, kind(value) if kind is not None and isinstance(value, str) else value, source


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, str, str]]:
    for variable in sorted(environment):
        if not variable.startswith("SYNCCASH_"):
            continue
        name = variable.removeprefix("SYNCCASH_").lower()
        if name not in FIELDS and name.endswith("_file"):
            try:
                text = Path(environment[variable]).read_text(encoding="utf-8")
            except OSError as error:
                problems.append(f"{variable}: cannot read the file: {error.strerror}")
                continue
            except UnicodeDecodeError:
                problems.append(f"{variable}: the file is not UTF-8 text")
                continue
            yield name.removesuffix("_file"), text.strip(), variable
        else:
            yield name, environment[variable], variable


def _from_file(file: Path | None, problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    if file is None or not file.exists():
        return
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{file.name} is not valid TOML: {error}")
        return
    yield from _flat(tree, "", file.name)


def _flat(tree: Mapping[str, Any], prefix: str, source: str) -> Iterator[tuple[str, Any, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}_", source)  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{prefix}{key}", _joined(value), source


def _joined(value: Any) -> Any:
    """Write a list of texts as the text that a variable would have."""
    if not isinstance(value, list):
        return value
    items = cast("list[object]", value)
    texts = [item for item in items if isinstance(item, str)]
    return ", ".join(texts) if len(texts) == len(items) else items


def _expected(name: str) -> str:
    kind = FIELDS[name].type
    if get_origin(kind) is Literal:
        return f"; expected one of {', '.join(map(str, get_args(kind)))}"
    if isinstance(kind, types.UnionType):
        return "; expected text"
    return ""
