"""The accounts that `up` has with the sandbox's rails: what each is told to accept, and the settings for it.

A new rail adds one function and one line to `ACCOUNTS`. Which rail is tried first is no matter of this file,
see `rails/registry.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one rail is played, and what an account there can be made of.

    `url` is the rail's own port. `user` (a UUIDv4) and `key` (32 hexadecimal digits) stay the same over all
    starts of one data folder. `callbacks` is where this rail's callbacks go, without the token.
    """

    url: str
    user: str
    key: str = field(repr=False)
    callbacks: str

    @property
    def callback_token(self) -> str:
        """What nobody guesses of an address that serves the whole account; it stays the same too."""
        return sha256(f"callbacks to {self.callbacks} {self.key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`settings` of ours that lead to a rail, and what is PUT to each of its `control` resources first."""

    settings: Mapping[str, str] = field(repr=False)
    control: Mapping[str, Mapping[str, Any]] = field(repr=False)


def _mtn_momo(place: Place) -> Account:
    return Account(
        control={
            "credentials": {"api_user": place.user, "api_key": place.key, "callback_host": "localhost"},
        },
        settings={
            "mtn_momo_environment": "test",
            "mtn_momo_base_url": place.url,
            "mtn_momo_target_environment": "mtnghana",
            "mtn_momo_collection_user": place.user,
            "mtn_momo_collection_key": place.key,
            "mtn_momo_collection_subscription_key": "sandbox-collection",
            "mtn_momo_disbursement_user": place.user,
            "mtn_momo_disbursement_key": place.key,
            "mtn_momo_disbursement_subscription_key": "sandbox-disbursement",
            "mtn_momo_inquiry_from_s": "0",
        },
    )


def _paystack(place: Place) -> Account:
    secret_key = f"sk_test_{place.key}"
    webhook_url = f"{place.callbacks}/{place.callback_token}"
    return Account(
        control={"credentials": {"secret_key": secret_key, "webhook_url": webhook_url}},
        settings={
            "paystack_environment": "test",
            "paystack_base_url": place.url,
            "paystack_secret_key": secret_key,
            "paystack_email": "payments@example.com",
            "paystack_callback_token": place.callback_token,
            "paystack_inquiry_from_s": "0",
        },
    )


def _hubtel(place: Place) -> Account:
    merchants = {"pos_sales_id": "2017001", "prepaid_deposit_id": "2017002"}
    return Account(
        control={
            "credentials": {"client_id": place.user, "client_secret": place.key, **merchants},
        },
        settings={
            "hubtel_environment": "test",
            "hubtel_receive_url": place.url,
            "hubtel_status_url": place.url,
            "hubtel_send_url": place.url,
            "hubtel_send_status_url": place.url,
            "hubtel_client_id": place.user,
            "hubtel_client_secret": place.key,
            **{f"hubtel_{name}": value for name, value in merchants.items()},
            # The playback knows no five minutes.
            "hubtel_inquiry_from_s": "0",
            "hubtel_prompt_window_s": "10",
        },
    )


def _pawapay(place: Place) -> Account:
    callback_url = f"{place.callbacks}/{place.callback_token}"
    return Account(
        control={
            "settings": {
                "token": place.key,
                "deposit_callback_url": callback_url,
                "payout_callback_url": callback_url,
                "refund_callback_url": callback_url,
            },
        },
        settings={
            "pawapay_environment": "test",
            "pawapay_base_url": place.url,
            "pawapay_token": place.key,
            "pawapay_callback_token": place.callback_token,
        },
    )


ACCOUNTS: Mapping[str, Callable[[Place], Account]] = {
    "mtn_momo": _mtn_momo,
    "paystack": _paystack,
    "hubtel": _hubtel,
    "pawapay": _pawapay,
}
