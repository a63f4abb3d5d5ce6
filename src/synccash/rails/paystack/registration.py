"""Registers Paystack: its settings, the columns of its statement, its account at the sandbox."""

from collections.abc import Callable, Mapping
from typing import Any

from synccash.payments.rail import Environment
from synccash.rails.http.transport import Transport
from synccash.rails.pacer import Clock
from synccash.rails.paystack.connector import NAME, Paystack, PaystackSettings
from synccash.rails.registration import RegisteredRail
from synccash.rails.sandbox_account import SandboxAccount, SandboxRail
from synccash.rails.settings_checks import (
    Proof,
    contradicted_environment,
    unfit_as_address,
    unfit_as_callback_token,
    unfit_for_headers,
)
from synccash.rails.statements import StatementLayout
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.secret import Secret


def paystack_settings(settings: Settings) -> PaystackSettings | None:
    """Read Paystack's settings; None where none of them is given. Raises SettingsError."""
    key, email = settings.paystack_secret_key, settings.paystack_email
    if not key and not email:
        return None
    problems: list[str] = []
    if key:
        problems += unfit_for_headers(settings, ["paystack_secret_key"])
    else:
        problems.append("paystack_secret_key is missing; paystack_email is given")
    if not email:
        problems.append("paystack_email is missing; paystack_secret_key is given")
    problems += unfit_as_callback_token(settings, NAME)
    base_url = settings.paystack_base_url.rstrip("/")
    problems += unfit_as_address("paystack_base_url", base_url)
    problems += contradicted_environment(settings, NAME, _environment_of_key(key))
    # A missing key is one of the problems.
    if problems or key is None:
        raise SettingsError("\n".join(problems))
    return PaystackSettings(
        base_url=base_url,
        account=settings.paystack_account,
        environment=Environment(settings.paystack_environment),
        secret_key=key,
        email=email or "",
        callback_token=settings.paystack_callback_token,
        inquiry_from_s=settings.paystack_inquiry_from_s,
    )


def _environment_of_key(key: Secret | None) -> Proof | None:
    if key is None:
        return None
    for prefix, environment in (("sk_live_", Environment.LIVE), ("sk_test_", Environment.TEST)):
        if key.reveal().startswith(prefix):
            return environment, f"paystack_secret_key begins with {prefix}"
    return None


def _settings_of_former(former: Mapping[str, Any]) -> Mapping[str, str]:
    """Declare the environment that a former key has: it may differ from that of the present key."""
    proof = _environment_of_key(former.get("paystack_secret_key"))
    return {} if proof is None else {"paystack_environment": proof[0].value}


def _build(
    settings: Settings, transport: Transport, clock: Clock, inquirers: Callable[[], int]
) -> Paystack | None:
    del inquirers  # Paystack publishes no cap on inquiries
    paystack = paystack_settings(settings)
    return None if paystack is None else Paystack(paystack, transport, clock)


def _sandbox_account(sandbox_rail: SandboxRail) -> SandboxAccount:
    secret_key = f"sk_test_{sandbox_rail.key}"
    return SandboxAccount(
        control={"credentials": {"secret_key": secret_key, "webhook_url": sandbox_rail.callback_url}},
        settings={
            "paystack_environment": "test",
            "paystack_base_url": sandbox_rail.url,
            "paystack_secret_key": secret_key,
            "paystack_email": "payments@example.com",
            "paystack_callback_token": sandbox_rail.callback_token,
            "paystack_inquiry_from_s": "0",
        },
    )


PAYSTACK = RegisteredRail(
    name=NAME,
    provider="Paystack",
    build=_build,
    statement=StatementLayout(
        # A refund's own reference is in its note; its column `reference` is the one of the charge.
        reference=("merchantnote", "reference", "transactionreference", "transferreference"),
        provider_id=("refundid", "transfercode", "transactionid", "id"),
        amount=("amount", "amountpaid", "amountghs", "refundamount"),
        time=("transactiondate", "paidat", "createdat", "date", "refundedat", "datecreated"),
        outgoing_files=("transfercode", "recipient", "refundid", "merchantnote", "refundedby"),
        incoming=frozenset({"charge", "transaction", "payment"}),
    ),
    sandbox_account=_sandbox_account,
    settings_of_former=_settings_of_former,
)
