"""Registers Hubtel: its settings, the columns of its statement, its account at the sandbox."""

from collections.abc import Callable

from synccash.payments.rail import Environment
from synccash.rails.http.transport import Transport
from synccash.rails.hubtel.connector import NAME, Hubtel, HubtelSettings
from synccash.rails.pacer import Clock
from synccash.rails.registration import RegisteredRail
from synccash.rails.sandbox_account import SandboxAccount, SandboxRail
from synccash.rails.settings_checks import (
    contradicted_environment,
    given_keys,
    missing,
    unfit_as_address,
    unfit_for_headers,
)
from synccash.rails.statements import StatementLayout
from synccash.settings.loader import Settings, SettingsError


def hubtel_settings(settings: Settings) -> HubtelSettings | None:
    """Read Hubtel's settings; None where no key of an account is given. Raises SettingsError."""
    keys = ["hubtel_pos_sales_id", "hubtel_client_id", "hubtel_client_secret"]
    given = given_keys(settings, [*keys, "hubtel_prepaid_deposit_id"])
    if not given:
        return None
    problems = missing(keys, given)
    problems += unfit_for_headers(settings, given)
    # Both are part of a path.
    problems += [
        f"{key} must be letters and digits"
        for key in ("hubtel_pos_sales_id", "hubtel_prepaid_deposit_id")
        if key in given and not getattr(settings, key).isalnum()
    ]
    # Basic credentials end the user at the first colon.
    client_id, client_secret = settings.hubtel_client_id, settings.hubtel_client_secret
    if client_id is not None and ":" in client_id.reveal():
        problems.append("hubtel_client_id must have no colon; is the secret in it?")
    urls = {
        name: getattr(settings, f"hubtel_{name}").rstrip("/")
        for name in ("receive_url", "status_url", "send_url", "send_status_url")
    }
    for name, url in urls.items():
        problems += unfit_as_address(f"hubtel_{name}", url)
    problems += contradicted_environment(settings, NAME, None)
    # A missing id or secret is one of the problems.
    if problems or client_id is None or client_secret is None:
        raise SettingsError("\n".join(problems))
    return HubtelSettings(
        **urls,
        environment=Environment(settings.hubtel_environment),
        pos_sales_id=str(settings.hubtel_pos_sales_id),
        prepaid_deposit_id=settings.hubtel_prepaid_deposit_id or None,
        client_id=client_id,
        client_secret=client_secret,
        inquiry_from_s=settings.hubtel_inquiry_from_s,
        prompt_window_s=settings.hubtel_prompt_window_s,
    )


def _build(
    settings: Settings, transport: Transport, clock: Clock, inquirers: Callable[[], int]
) -> Hubtel | None:
    del clock, inquirers  # Hubtel publishes no cap on inquiries
    hubtel = hubtel_settings(settings)
    return None if hubtel is None else Hubtel(hubtel, transport)


def _sandbox_account(sandbox_rail: SandboxRail) -> SandboxAccount:
    merchants = {"pos_sales_id": "2017001", "prepaid_deposit_id": "2017002"}
    return SandboxAccount(
        control={
            "credentials": {"client_id": sandbox_rail.user, "client_secret": sandbox_rail.key, **merchants},
        },
        settings={
            "hubtel_environment": "test",
            "hubtel_receive_url": sandbox_rail.url,
            "hubtel_status_url": sandbox_rail.url,
            "hubtel_send_url": sandbox_rail.url,
            "hubtel_send_status_url": sandbox_rail.url,
            "hubtel_client_id": sandbox_rail.user,
            "hubtel_client_secret": sandbox_rail.key,
            **{f"hubtel_{name}": value for name, value in merchants.items()},
            # The sandbox does not enforce the minimum of five minutes before a status check.
            "hubtel_inquiry_from_s": "0",
            "hubtel_prompt_window_s": "10",
        },
    )


HUBTEL = RegisteredRail(
    name=NAME,
    provider="Hubtel",
    build=_build,
    statement=StatementLayout(
        reference=("clientreference", "clientref", "merchantreference", "reference"),
        provider_id=("transactionid", "hubteltransactionid", "orderid", "id"),
        amount=("amount", "transactionamount", "amountghs"),
        direction=("transactiontype", "type", "direction"),
        outgoing_files=("recipientmsisdn", "recipientname", "recipient"),
        incoming=frozenset({"receivemoney", "received", "sale", "payment"}),
        outgoing=frozenset({"sendmoney"}),
    ),
    sandbox_account=_sandbox_account,
)
