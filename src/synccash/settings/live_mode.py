"""Finds settings that are too weak for an installation that moves real money.

An installation is in live mode as soon as the account of one rail is declared live.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from synccash.settings.allowances import (
    DATABASE_SSLMODE,
    PUBLIC_URL_LOCALHOST,
    RAIL_HTTP,
    TEST_CREDENTIALS,
    read_allowances,
)
from synccash.settings.loader import FIELDS, RAILS_WITH_SETTINGS, Settings, SettingsError
from synccash.settings.secret import Secret, SecretUrl

_DATABASES = ("database_url", "migration_database_url")
_TEST_MARKS = ("sandbox", "sk_test_", "pk_test_")


@dataclass(frozen=True, slots=True)
class InsecureSetting:
    """A setting that live mode refuses, and what to do. `name` in `allow_insecure` allows it."""

    name: str
    message: str
    remedy: str


def live_rails(settings: Settings) -> tuple[str, ...]:
    """Return the rails whose accounts are declared live."""
    return tuple(rail for rail in RAILS_WITH_SETTINGS if getattr(settings, f"{rail}_environment") == "live")


def insecure_settings(settings: Settings) -> tuple[InsecureSetting, ...]:
    """Return every setting that is too weak for real money, also those that are allowed by name.

    In test mode nothing is.
    """
    if not live_rails(settings):
        return ()
    return tuple(
        InsecureSetting(name, message, remedy)
        for name, find in _RULES.items()
        for message, remedy in find(settings)
    )


def refuse_insecure(settings: Settings) -> None:
    """Raise SettingsError that lists the insecure settings which `allow_insecure` does not name."""
    allowed = read_allowances(settings.allow_insecure)
    refused = [one for one in insecure_settings(settings) if one.name not in allowed]
    if refused:
        lines = [
            f"{one.message}: {one.remedy}. To allow it: SYNCCASH_ALLOW_INSECURE={one.name}" for one in refused
        ]
        live = ", ".join(live_rails(settings))
        raise SettingsError("\n".join([f"These settings are refused with live rails ({live}):", *lines]))


def is_local_host(host: str | None) -> bool:
    """Return True for a name or an address of this host: `localhost`, a loopback address, a unix socket."""
    if not host or host.startswith("/"):
        return True
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def database_hosts(url: SecretUrl) -> tuple[str, ...]:
    """Return the hosts of a PostgreSQL URL; an empty one is the local socket."""
    parts = urlsplit(url.reveal())
    named = [part.rpartition(":")[0] or part for part in _named_hosts(parts.netloc)]
    named += [host for text in parse_qs(parts.query).get("host", ()) for host in text.split(",")]
    return tuple(host.strip("[]") for host in named if host) or ("",)


def database_sslmode(url: SecretUrl) -> str | None:
    """Return the `sslmode` that the URL names."""
    found = parse_qs(urlsplit(url.reveal()).query).get("sslmode")
    return found[-1] if found else None


def _named_hosts(netloc: str) -> list[str]:
    return [_with_port(host) for host in netloc.rpartition("@")[2].split(",") if host]


def _with_port(host: str) -> str:
    """Return `host:port`, so that the last colon never belongs to an IPv6 address."""
    has_port = ":" in host.rpartition("]")[2] if "]" in host else ":" in host
    return host if has_port else f"{host}:"


def _weak_databases(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in _DATABASES:
        url: SecretUrl | None = getattr(settings, name)
        if url is None or all(map(is_local_host, database_hosts(url))):
            continue
        mode = database_sslmode(url)
        if mode != "verify-full":
            given = f"sslmode={mode}" if mode else "no sslmode"
            yield (
                f"{name} leads to another host with {given}, so the connection can be read or taken over",
                "add sslmode=verify-full to the URL, and sslrootcert=FILE for a CA of your own",
            )


def _local_public_url(settings: Settings) -> Iterator[tuple[str, str]]:
    if is_local_host(urlsplit(settings.public_url).hostname):
        yield (
            f"public_url is {settings.public_url}, which no provider can reach, so no callback arrives",
            "set it to the https:// address under which the internet reaches this service",
        )


def _plain_rails(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, url in _live_urls(settings):
        if url.startswith("http://"):
            yield (
                f"{name} is {url}, where credentials and numbers are sent without encryption",
                "use the provider's https:// address",
            )


def _test_credentials(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, url in _live_urls(settings):
        host = urlsplit(url).hostname or ""
        if "sandbox" in host or is_local_host(host):
            yield (
                f"{name} leads to {host}, a sandbox, but the account is declared live",
                "use the provider's live address, or declare the account test",
            )
    for name, value in _live_texts(settings):
        if any(mark in value.lower() for mark in _TEST_MARKS):
            yield (
                f"{name} is a credential for tests, but the account is declared live",
                "use the live credential, or declare the account test",
            )


def _live_urls(settings: Settings) -> Iterator[tuple[str, str]]:
    for rail in live_rails(settings):
        for name in FIELDS:
            url = getattr(settings, name)
            if name.startswith(f"{rail}_") and name.endswith("_url") and url:
                yield name, url


def _live_texts(settings: Settings) -> Iterator[tuple[str, str]]:
    for rail in live_rails(settings):
        for name in FIELDS:
            value = getattr(settings, name)
            if name.startswith(f"{rail}_") and "_former_" not in name and isinstance(value, Secret):
                yield name, value.reveal()


_RULES: Mapping[str, Callable[[Settings], Iterator[tuple[str, str]]]] = {
    DATABASE_SSLMODE: _weak_databases,
    PUBLIC_URL_LOCALHOST: _local_public_url,
    RAIL_HTTP: _plain_rails,
    TEST_CREDENTIALS: _test_credentials,
}
