"""Registers pawaPay: its settings, the columns of its statement, its account at the sandbox."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from synccash.payments.rail import Environment
from synccash.rails.http.transport import Transport
from synccash.rails.pacer import Clock
from synccash.rails.pawapay.connector import NAME, Pawapay, PawapaySettings
from synccash.rails.registration import RegisteredRail
from synccash.rails.sandbox_account import SandboxAccount, SandboxRail
from synccash.rails.settings_checks import (
    Proof,
    contradicted_environment,
    given_keys,
    is_address,
    missing,
    unfit_as_address,
    unfit_as_callback_token,
    unfit_for_headers,
)
from synccash.rails.statements import StatementLayout
from synccash.settings.loader import Settings, SettingsError

_HOSTS: Mapping[str, Environment] = {
    "api.pawapay.io": Environment.LIVE,
    "api.sandbox.pawapay.io": Environment.TEST,
}


def pawapay_settings(settings: Settings) -> PawapaySettings | None:
    """Read pawaPay's settings; None where none of them is given. Raises SettingsError."""
    keys = ("pawapay_base_url", "pawapay_token")
    given = given_keys(settings, keys)
    if not given:
        return None
    problems = missing(keys, given)
    token = settings.pawapay_token
    if token:
        problems += unfit_for_headers(settings, ["pawapay_token"])
    base_url = (settings.pawapay_base_url or "").rstrip("/")
    if base_url:
        problems += unfit_as_address("pawapay_base_url", base_url)
    problems += unfit_as_callback_token(settings, NAME)
    problems += contradicted_environment(settings, NAME, _environment_of_host(base_url))
    # A missing token is one of the problems.
    if problems or token is None:
        raise SettingsError("\n".join(problems))
    return PawapaySettings(
        base_url=base_url,
        account=settings.pawapay_account,
        environment=Environment(settings.pawapay_environment),
        token=token,
        callback_token=settings.pawapay_callback_token,
        status_per_s=settings.pawapay_status_per_s,
    )


def _environment_of_host(base_url: str) -> Proof | None:
    host = urlsplit(base_url).hostname or "" if is_address(base_url) else ""
    environment = _HOSTS.get(host)
    return None if environment is None else (environment, f"pawapay_base_url leads to {host}")


def _build(
    settings: Settings, transport: Transport, clock: Clock, inquirers: Callable[[], int]
) -> Pawapay | None:
    pawapay = pawapay_settings(settings)
    return None if pawapay is None else Pawapay(pawapay, transport, clock, inquirers)


def _sandbox_account(sandbox_rail: SandboxRail) -> SandboxAccount:
    return SandboxAccount(
        control={
            "settings": {
                "token": sandbox_rail.key,
                "deposit_callback_url": sandbox_rail.callback_url,
                "payout_callback_url": sandbox_rail.callback_url,
                "refund_callback_url": sandbox_rail.callback_url,
            },
        },
        settings={
            "pawapay_environment": "test",
            "pawapay_base_url": sandbox_rail.url,
            "pawapay_token": sandbox_rail.key,
            "pawapay_callback_token": sandbox_rail.callback_token,
        },
    )


PAWAPAY = RegisteredRail(
    name=NAME,
    provider="pawaPay",
    build=_build,
    statement=StatementLayout(
        # What pawaPay calls the id of a transaction is the one that we gave it.
        reference=("transactionid", "depositid", "payoutid", "refundid"),
        provider_id=("providertransactionid", "correspondentid", "mnotransactionid"),
        time=("creationdate", "created", "createdat", "date"),
        outgoing_files=("payoutid", "refundid"),
    ),
    sandbox_account=_sandbox_account,
)
