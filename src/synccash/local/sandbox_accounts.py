"""The accounts of `synccash up` at the sandbox's rails: the credentials to register there, and our settings.

A new rail adds one function and one line to `ACCOUNTS`. The order in which rails are tried is set in
`rails/registry.py`, not here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRail:
    """The address of one sandbox rail, and the values from which its account is built.

    `url` is the rail's own port. `user` (a UUIDv4) and `key` (32 hexadecimal digits) stay the same over all
    starts of one data folder. `callbacks` is the URL for this rail's callbacks, without the token.
    """

    url: str
    user: str
    key: str = field(repr=False)
    callbacks: str

    @property
    def callback_token(self) -> str:
        """Returns the secret part of the callback URL of the account; it also stays the same."""
        return sha256(f"callbacks to {self.callbacks} {self.key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Our `settings` for a rail, and the body to PUT to each of its `control` resources first."""

    settings: Mapping[str, str] = field(repr=False)
    control: Mapping[str, Mapping[str, Any]] = field(repr=False)


def _mtn_momo(sandbox_rail: SandboxRail) -> Account:
    return Account(
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


def _paystack(sandbox_rail: SandboxRail) -> Account:
    secret_key = f"sk_test_{sandbox_rail.key}"
    webhook_url = f"{sandbox_rail.callbacks}/{sandbox_rail.callback_token}"
    return Account(
        control={"credentials": {"secret_key": secret_key, "webhook_url": webhook_url}},
        settings={
            "paystack_environment": "test",
            "paystack_base_url": sandbox_rail.url,
            "paystack_secret_key": secret_key,
            "paystack_email": "payments@example.com",
            "paystack_callback_token": sandbox_rail.callback_token,
            "paystack_inquiry_from_s": "0",
        },
    )


def _hubtel(sandbox_rail: SandboxRail) -> Account:
    merchants = {"pos_sales_id": "2017001", "prepaid_deposit_id": "2017002"}
    return Account(
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


def _pawapay(sandbox_rail: SandboxRail) -> Account:
    callback_url = f"{sandbox_rail.callbacks}/{sandbox_rail.callback_token}"
    return Account(
        control={
            "settings": {
                "token": sandbox_rail.key,
                "deposit_callback_url": callback_url,
                "payout_callback_url": callback_url,
                "refund_callback_url": callback_url,
            },
        },
        settings={
            "pawapay_environment": "test",
            "pawapay_base_url": sandbox_rail.url,
            "pawapay_token": sandbox_rail.key,
            "pawapay_callback_token": sandbox_rail.callback_token,
        },
    )


ACCOUNTS: Mapping[str, Callable[[SandboxRail], Account]] = {
    "mtn_momo": _mtn_momo,
    "paystack": _paystack,
    "hubtel": _hubtel,
    "pawapay": _pawapay,
}
