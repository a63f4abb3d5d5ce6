"""Registers MTN MoMo: its settings, the columns of its statement, its account at the sandbox."""

from collections.abc import Callable, Sequence

from synccash.payments.rail import Environment
from synccash.rails.http.transport import Transport
from synccash.rails.mtn_momo.connector import NAME, MtnMomo, MtnMomoSettings, ProductCredentials
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

_PRODUCT_KEYS = ("user", "key", "subscription_key")


def mtn_momo_settings(settings: Settings) -> MtnMomoSettings | None:
    """Read MTN's settings; None where none of them is given. Raises SettingsError."""
    collection = [f"mtn_momo_collection_{key}" for key in _PRODUCT_KEYS]
    disbursement = [f"mtn_momo_disbursement_{key}" for key in _PRODUCT_KEYS]
    refunds = any(getattr(settings, key) for key in disbursement)
    keys = ["mtn_momo_base_url", *collection, *(disbursement if refunds else ())]
    given = given_keys(settings, keys)
    if not given:
        return None
    problems = missing(keys, given)
    problems += unfit_for_headers(settings, [*given, "mtn_momo_target_environment"])
    base_url = (settings.mtn_momo_base_url or "").rstrip("/")
    if base_url:
        problems += unfit_as_address("mtn_momo_base_url", base_url)
    is_test = settings.mtn_momo_target_environment == "sandbox"
    if is_test != (settings.mtn_momo_currency == "EUR"):
        problems.append(
            "mtn_momo_currency must be EUR where mtn_momo_target_environment is sandbox, and GHS elsewhere"
        )
    proof = (Environment.TEST, "mtn_momo_target_environment is sandbox") if is_test else None
    problems += contradicted_environment(settings, NAME, proof)
    if problems:
        raise SettingsError("\n".join(problems))
    return MtnMomoSettings(
        base_url=base_url,
        account=settings.mtn_momo_account,
        target_environment=settings.mtn_momo_target_environment,
        platform=settings.mtn_momo_platform,
        currency=settings.mtn_momo_currency,
        environment=Environment(settings.mtn_momo_environment),
        collection=_credentials(settings, collection),
        disbursement=_credentials(settings, disbursement) if refunds else None,
        status_per_s=settings.mtn_momo_status_per_s,
        inquiry_from_s=settings.mtn_momo_inquiry_from_s,
    )


def _credentials(settings: Settings, keys: Sequence[str]) -> ProductCredentials:
    user, key, subscription_key = (getattr(settings, name) for name in keys)
    return ProductCredentials(user=user, key=key, subscription_key=subscription_key)


def _build(
    settings: Settings, transport: Transport, clock: Clock, inquirers: Callable[[], int]
) -> MtnMomo | None:
    momo = mtn_momo_settings(settings)
    return None if momo is None else MtnMomo(momo, transport, clock, inquirers)


def _statement_currency(settings: Settings) -> str:
    return settings.mtn_momo_currency


def _sandbox_account(sandbox_rail: SandboxRail) -> SandboxAccount:
    return SandboxAccount(
        control={
            "credentials": {
                "api_user": sandbox_rail.user,
                "api_key": sandbox_rail.key,
                "callback_host": "localhost",
            },
        },
        settings={
            "mtn_momo_environment": "test",
            "mtn_momo_base_url": sandbox_rail.url,
            "mtn_momo_target_environment": "mtnghana",
            "mtn_momo_collection_user": sandbox_rail.user,
            "mtn_momo_collection_key": sandbox_rail.key,
            "mtn_momo_collection_subscription_key": "sandbox-collection",
            "mtn_momo_disbursement_user": sandbox_rail.user,
            "mtn_momo_disbursement_key": sandbox_rail.key,
            "mtn_momo_disbursement_subscription_key": "sandbox-disbursement",
            "mtn_momo_inquiry_from_s": "0",
        },
    )


MTN_MOMO = RegisteredRail(
    name=NAME,
    provider="MTN MoMo",
    build=_build,
    statement=StatementLayout(
        # We write our reference into externalId: the statement does not know X-Reference-Id.
        reference=("externalid", "externaltransactionid", "xreferenceid", "referenceid", "reference"),
        provider_id=("id", "transactionid", "financialtransactionid"),
        # Seen from our account, a request to pay is a debit of the payer's.
        incoming=frozenset({"debit", "payment", "externalpayment", "requesttopay", "cashin"}),
        outgoing=frozenset({"externaltransfer", "batchtransfer", "floattransfer", "deposit", "cashout"}),
    ),
    statement_currency=_statement_currency,
    sandbox_account=_sandbox_account,
)
