"""Builds the configured rails. A rail with only some of its settings is refused at start."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from synccash.payments.rail import Environment
from synccash.rails.callback_token import EXPECTED, is_fit
from synccash.rails.hubtel.connector import Hubtel, HubtelSettings
from synccash.rails.mtn_momo.connector import MtnMomo, MtnMomoSettings, ProductCredentials
from synccash.rails.pacer import Clock, alone
from synccash.rails.pawapay.connector import Pawapay, PawapaySettings
from synccash.rails.paystack.connector import Paystack, PaystackSettings
from synccash.rails.transport import Transport
from synccash.settings.loader import Settings, SettingsError

Connector = MtnMomo | Paystack | Hubtel | Pawapay
"""Any of the rails; each new one joins here with `|`. All of them are `synccash.engine.ports.Rail`."""

_PRODUCT_KEYS = ("user", "key", "subscription_key")


def build_rails(
    settings: Settings, transport: Transport, clock: Clock, inquirers: Callable[[], int] = alone
) -> dict[str, Connector]:
    """Build the configured rails, by id.

    `inquirers` tells how many processes inquire now: they share the rate that a rail allows. Raises
    SettingsError that names every missing or unusable key of the rails that are set up in part.
    """
    rails: dict[str, Connector] = {}
    problems: list[str] = []
    for set_up in _SET_UPS:
        try:
            rail = set_up(settings, transport, clock, inquirers)
        except SettingsError as error:
            problems.append(str(error))
            continue
        if rail is not None:
            rails[rail.name] = rail
    if problems:
        raise SettingsError("\n".join(problems))
    return rails


def build_former_rails(
    settings: Settings, transport: Transport, clock: Clock, inquirers: Callable[[], int] = alone
) -> dict[str, tuple[Connector, ...]]:
    """Build the connectors with former credentials, by rail. They inquire about what was sent with these.

    All that is not a credential is as in the rail's present settings. Raises SettingsError.
    """
    former: dict[str, tuple[Connector, ...]] = {}
    problems: list[str] = []
    for set_up, keys in _FORMER.items():
        given = {key: getattr(settings, _former(key)) for key in keys}
        if not any(given.values()):
            continue
        changes = {key: value for key, value in given.items() if value or not key.endswith("_account")}
        if changes.get("paystack_secret_key"):
            proof = _environment_of_key(changes["paystack_secret_key"])
            changes |= {"paystack_environment": proof[0].value} if proof else {}
        try:
            rail = set_up(msgspec.structs.replace(settings, **changes), transport, clock, inquirers)
        except SettingsError as error:
            text = str(error)
            for key in keys:
                text = text.replace(key, _former(key))
            problems.append(text)
            continue
        if rail is not None:
            former[rail.name] = (rail,)
    if problems:
        raise SettingsError("\n".join(problems))
    return former


def _former(key: str) -> str:
    """The name of the setting with the former value of a credential."""
    rail = next(rail for rail in ("mtn_momo", "paystack", "hubtel", "pawapay") if key.startswith(rail))
    return f"{rail}_former_{key.removeprefix(f'{rail}_')}"


_Inquirers = Callable[[], int]


def _mtn_momo(
    settings: Settings, transport: Transport, clock: Clock, inquirers: _Inquirers
) -> MtnMomo | None:
    momo = mtn_momo_settings(settings)
    return None if momo is None else MtnMomo(momo, transport, clock, inquirers)


def _paystack(
    settings: Settings, transport: Transport, clock: Clock, inquirers: _Inquirers
) -> Paystack | None:
    del inquirers
    paystack = paystack_settings(settings)
    return None if paystack is None else Paystack(paystack, transport, clock)


def _hubtel(settings: Settings, transport: Transport, clock: Clock, inquirers: _Inquirers) -> Hubtel | None:
    del clock, inquirers
    hubtel = hubtel_settings(settings)
    return None if hubtel is None else Hubtel(hubtel, transport)


def _pawapay(settings: Settings, transport: Transport, clock: Clock, inquirers: _Inquirers) -> Pawapay | None:
    pawapay = pawapay_settings(settings)
    return None if pawapay is None else Pawapay(pawapay, transport, clock, inquirers)


_SET_UPS: tuple[Callable[[Settings, Transport, Clock, _Inquirers], Connector | None], ...] = (
    _mtn_momo,
    _paystack,
    _hubtel,
    _pawapay,
)
"""In the order in which equal rails are tried."""


_FORMER: Mapping[Callable[[Settings, Transport, Clock, _Inquirers], Connector | None], Sequence[str]] = {
    _mtn_momo: (
        "mtn_momo_account",
        *(f"mtn_momo_{product}_{key}" for product in ("collection", "disbursement") for key in _PRODUCT_KEYS),
    ),
    _paystack: ("paystack_account", "paystack_secret_key"),
    _hubtel: ("hubtel_pos_sales_id", "hubtel_prepaid_deposit_id", "hubtel_client_id", "hubtel_client_secret"),
    _pawapay: ("pawapay_account", "pawapay_token"),
}
"""The settings that a former account has under names of its own, `<rail>_former_…`."""


def mtn_momo_settings(settings: Settings) -> MtnMomoSettings | None:
    """Read MTN's settings; None where none of them is given. Raises SettingsError."""
    collection = [f"mtn_momo_collection_{key}" for key in _PRODUCT_KEYS]
    disbursement = [f"mtn_momo_disbursement_{key}" for key in _PRODUCT_KEYS]
    refunds = any(getattr(settings, key) for key in disbursement)
    keys = ["mtn_momo_base_url", *collection, *(disbursement if refunds else ())]
    given = [key for key in keys if getattr(settings, key)]
    if not given:
        return None
    problems = [f"{key} is missing; {given[0]} is given" for key in keys if key not in given]
    problems += [
        f"{key} must be printable ASCII without blanks; was a line break copied with it?"
        for key in (*given, "mtn_momo_target_environment")
        if not _is_header_text(getattr(settings, key))
    ]
    base_url = (settings.mtn_momo_base_url or "").rstrip("/")
    if base_url and not _is_address(base_url):
        problems.append("mtn_momo_base_url must be http(s)://host[:port][/path], without user, query or #")
    is_test = settings.mtn_momo_target_environment == "sandbox"
    if is_test != (settings.mtn_momo_currency == "EUR"):
        problems.append(
            "mtn_momo_currency must be EUR where mtn_momo_target_environment is sandbox, and GHS elsewhere"
        )
    sandbox_proof = (Environment.TEST, "mtn_momo_target_environment is sandbox") if is_test else None
    problems += _environment_problems(settings, "mtn_momo", sandbox_proof)
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


def paystack_settings(settings: Settings) -> PaystackSettings | None:
    """Read Paystack's settings; None where none of them is given. Raises SettingsError."""
    key, email = settings.paystack_secret_key, settings.paystack_email
    if not key and not email:
        return None
    problems: list[str] = []
    if not key:
        problems.append("paystack_secret_key is missing; paystack_email is given")
    elif not _is_header_text(key):
        problems.append(
            "paystack_secret_key must be printable ASCII without blanks; was a line break copied with it?"
        )
    if not email:
        problems.append("paystack_email is missing; paystack_secret_key is given")
    problems += _callback_token_problems(settings, "paystack")
    base_url = settings.paystack_base_url.rstrip("/")
    if not _is_address(base_url):
        problems.append("paystack_base_url must be http(s)://host[:port][/path], without user, query or #")
    problems += _environment_problems(settings, "paystack", _environment_of_key(key or ""))
    if problems:
        raise SettingsError("\n".join(problems))
    return PaystackSettings(
        base_url=base_url,
        account=settings.paystack_account,
        environment=Environment(settings.paystack_environment),
        secret_key=key or "",
        email=email or "",
        callback_token=settings.paystack_callback_token,
        inquiry_from_s=settings.paystack_inquiry_from_s,
    )


def hubtel_settings(settings: Settings) -> HubtelSettings | None:
    """Read Hubtel's settings; None where no key of an account is given. Raises SettingsError."""
    keys = ["hubtel_pos_sales_id", "hubtel_client_id", "hubtel_client_secret"]
    given = [key for key in (*keys, "hubtel_prepaid_deposit_id") if getattr(settings, key)]
    if not given:
        return None
    problems = [f"{key} is missing; {given[0]} is given" for key in keys if key not in given]
    problems += [
        f"{key} must be printable ASCII without blanks; was a line break copied with it?"
        for key in given
        if not _is_header_text(getattr(settings, key))
    ]
    # The one is part of a path, and the other ends at its first colon.
    problems += [
        f"{key} must be letters and digits"
        for key in ("hubtel_pos_sales_id", "hubtel_prepaid_deposit_id")
        if key in given and not getattr(settings, key).isalnum()
    ]
    if ":" in (settings.hubtel_client_id or ""):
        problems.append("hubtel_client_id must have no colon; is the secret in it?")
    urls = {
        name: getattr(settings, f"hubtel_{name}").rstrip("/")
        for name in ("receive_url", "status_url", "send_url", "send_status_url")
    }
    problems += [
        f"hubtel_{name} must be http(s)://host[:port][/path], without user, query or #"
        for name, url in urls.items()
        if not _is_address(url)
    ]
    problems += _environment_problems(settings, "hubtel", None)
    if problems:
        raise SettingsError("\n".join(problems))
    return HubtelSettings(
        **urls,
        environment=Environment(settings.hubtel_environment),
        pos_sales_id=str(settings.hubtel_pos_sales_id),
        prepaid_deposit_id=settings.hubtel_prepaid_deposit_id or None,
        client_id=str(settings.hubtel_client_id),
        client_secret=str(settings.hubtel_client_secret),
        inquiry_from_s=settings.hubtel_inquiry_from_s,
        prompt_window_s=settings.hubtel_prompt_window_s,
    )


def pawapay_settings(settings: Settings) -> PawapaySettings | None:
    """Read pawaPay's settings; None where none of them is given. Raises SettingsError."""
    keys = ("pawapay_base_url", "pawapay_token")
    given = [key for key in keys if getattr(settings, key)]
    if not given:
        return None
    problems = [f"{key} is missing; {given[0]} is given" for key in keys if key not in given]
    if not _is_header_text(settings.pawapay_token or ""):
        problems.append(
            "pawapay_token must be printable ASCII without blanks; was a line break copied with it?"
        )
    base_url = (settings.pawapay_base_url or "").rstrip("/")
    if base_url and not _is_address(base_url):
        problems.append("pawapay_base_url must be http(s)://host[:port][/path], without user, query or #")
    problems += _callback_token_problems(settings, "pawapay")
    problems += _environment_problems(settings, "pawapay", _environment_of_host(base_url))
    if problems:
        raise SettingsError("\n".join(problems))
    return PawapaySettings(
        base_url=base_url,
        account=settings.pawapay_account,
        environment=Environment(settings.pawapay_environment),
        token=settings.pawapay_token or "",
        callback_token=settings.pawapay_callback_token,
        status_per_s=settings.pawapay_status_per_s,
    )


_Proof = tuple[Environment, str]
"""The environment that an account provably has, and the proof."""
_HOSTS: Mapping[str, Environment] = {
    "api.pawapay.io": Environment.LIVE,
    "api.sandbox.pawapay.io": Environment.TEST,
}


def _environment_of_key(key: str) -> _Proof | None:
    for prefix, environment in (("sk_live_", Environment.LIVE), ("sk_test_", Environment.TEST)):
        if key.startswith(prefix):
            return environment, f"paystack_secret_key begins with {prefix}"
    return None


def _environment_of_host(base_url: str) -> _Proof | None:
    host = urlsplit(base_url).hostname or "" if _is_address(base_url) else ""
    environment = _HOSTS.get(host)
    return None if environment is None else (environment, f"pawapay_base_url leads to {host}")


def _environment_problems(settings: Settings, rail: str, proof: _Proof | None) -> list[str]:
    key = f"{rail}_environment"
    declared = getattr(settings, key)
    if declared is None:
        return [f"{key} is missing: write live where this account moves real money, test where it does not"]
    if proof is None or proof[0].value == declared:
        return []
    return [f"{key} is {declared}, but {proof[1]}: that account is {proof[0].value}; correct one of them"]


def _callback_token_problems(settings: Settings, rail: str) -> list[str]:
    key = f"{rail}_callback_token"
    token = getattr(settings, key)
    return [] if token is None or is_fit(token) else [f"{key} {EXPECTED}"]


def _credentials(settings: Settings, keys: Sequence[str]) -> ProductCredentials:
    user, key, subscription_key = (str(getattr(settings, name)) for name in keys)
    return ProductCredentials(user=user, key=key, subscription_key=subscription_key)


def _is_header_text(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.username or parts.password or parts.query or parts.fragment)
        )
    except ValueError:
        return False
