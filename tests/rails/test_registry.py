from functools import partial

import pytest

from rails.manual_clock import ManualClock
from synccash.engine.system import SystemClock
from synccash.payments.rail import Operation
from synccash.rails.http.transport import Transport
from synccash.rails.mtn_momo.registration import mtn_momo_settings
from synccash.rails.registry import build_former_rails, build_rails
from synccash.settings.loader import SECRETS, Settings, SettingsError

COLLECTION = {
    "mtn_momo_environment": "live",
    "mtn_momo_base_url": "https://momoapi.momo.africa/",
    "mtn_momo_collection_user": "dXNlcg==",
    "mtn_momo_collection_key": "collection-key",
    "mtn_momo_collection_subscription_key": "collection-subscription",
}
DISBURSEMENT = {
    "mtn_momo_disbursement_user": "cGF5ZXI=",
    "mtn_momo_disbursement_key": "disbursement-key",
    "mtn_momo_disbursement_subscription_key": "disbursement-subscription",
}


def build(**given):
    return build_rails(Settings(**given), Transport(), SystemClock())


async def test_processes_that_inquire_share_the_rate_that_a_rail_allows(transport):
    clock = ManualClock()
    nobody = {"mtn_momo_base_url": "http://127.0.0.1:9", "pawapay_base_url": "http://127.0.0.1:9"}
    nobody["pawapay_environment"] = "test"
    rates = {"mtn_momo_status_per_s": 1.0, "pawapay_status_per_s": 1.0}
    given = Settings(**COLLECTION | nobody | rates, pawapay_token="a-token")
    rails = build_rails(given, transport, clock, lambda: 3)
    assert set(rails) == {"mtn_momo", "pawapay"}
    for rail in rails.values():
        ask = partial(rail.inquire, rail.account, Operation.COLLECT, "r")
        assert (await ask(timeout_s=0.0)).provider_code != "status_cap"
        clock.advance(1.05)
        assert (await ask(timeout_s=2.0)).provider_code == "status_cap"
        clock.advance(2.1)
        assert (await ask(timeout_s=0.0)).provider_code != "status_cap"


def test_without_settings_there_is_no_rail():
    assert build() == {}


def test_a_rail_that_can_only_collect_sends_nothing_out():
    rail = build(**COLLECTION)["mtn_momo"]
    assert set(rail.capabilities.operations) == {Operation.COLLECT}


def test_with_both_products_it_collects_refunds_and_pays_out():
    rail = build(**COLLECTION, **DISBURSEMENT)["mtn_momo"]
    assert set(rail.capabilities.operations) == set(Operation)
    assert rail.account.base_url == "https://momoapi.momo.africa"
    assert (rail.account.account, rail.account.target_environment) == ("main", "mtnghana")


@pytest.mark.parametrize("missing", list(COLLECTION))
def test_half_a_rail_is_refused_with_what_is_missing(missing):
    with pytest.raises(SettingsError, match=f"{missing} is missing"):
        build(**{key: value for key, value in COLLECTION.items() if key != missing})


@pytest.mark.parametrize("missing", list(DISBURSEMENT))
def test_half_a_product_is_refused_with_what_is_missing(missing):
    with pytest.raises(SettingsError, match=f"^{missing} is missing"):
        build(**COLLECTION, **{key: value for key, value in DISBURSEMENT.items() if key != missing})


def test_every_missing_key_is_named_at_once():
    with pytest.raises(SettingsError) as refused:
        build(mtn_momo_base_url="https://momo.example")
    assert [line.split()[0] for line in str(refused.value).splitlines()] == [
        "mtn_momo_collection_user",
        "mtn_momo_collection_key",
        "mtn_momo_collection_subscription_key",
        "mtn_momo_environment",
    ]


@pytest.mark.parametrize("text", ["a key", "key\n", "kéy", "key\r\nX-Other: 1"])
def test_credentials_that_cannot_be_sent_are_refused_and_not_shown(text):
    with pytest.raises(SettingsError, match="mtn_momo_collection_key") as refused:
        build(**COLLECTION | {"mtn_momo_collection_key": text})
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "momo.example",
        "ftp://momo.example",
        "https://",
        "https://a:b@momo.example",
        "https://m/?a=1",
        "https://[",
    ],
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(SettingsError, match="mtn_momo_base_url"):
        build(**COLLECTION | {"mtn_momo_base_url": url})


@pytest.mark.parametrize(("environment", "currency"), [("sandbox", "GHS"), ("mtnghana", "EUR")])
def test_a_currency_that_the_environment_does_not_take_is_refused(environment, currency):
    with pytest.raises(SettingsError, match="mtn_momo_currency"):
        build(**COLLECTION, mtn_momo_target_environment=environment, mtn_momo_currency=currency)


def test_no_secret_is_printed():
    shown = repr(mtn_momo_settings(Settings(**COLLECTION, **DISBURSEMENT)))
    for key in (*COLLECTION, *DISBURSEMENT):
        if key not in ("mtn_momo_base_url", "mtn_momo_environment"):
            assert (COLLECTION | DISBURSEMENT)[key] not in shown


PAYSTACK = {
    "paystack_environment": "test",
    "paystack_secret_key": "sk_test_1",
    "paystack_email": "payments@example.com",
}
PAWAPAY = {
    "pawapay_environment": "live",
    "pawapay_base_url": "https://api.pawapay.io",
    "pawapay_token": "a-token",
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"paystack_email": None}, "paystack_email is missing"),
        ({"paystack_secret_key": None}, "paystack_secret_key is missing"),
        ({"paystack_secret_key": "sk_test_1\n"}, "paystack_secret_key must be printable"),
        ({"paystack_base_url": "api.paystack.co"}, "paystack_base_url must be"),
    ],
)
def test_a_paystack_account_that_cannot_work_is_refused_with_the_key_to_mend(changes, named):
    with pytest.raises(SettingsError, match=f"^{named}") as refused:
        build(**PAYSTACK | changes)
    assert "sk_test_1" not in str(refused.value)


@pytest.mark.parametrize(("rail", "account"), [("paystack", PAYSTACK), ("pawapay", PAWAPAY)])
@pytest.mark.parametrize("token", ["main", "", "a/path/that/is/long/enough/to/be/one", "ü" * 30])
def test_a_callback_token_that_can_be_guessed_or_not_written_is_refused_and_not_shown(rail, account, token):
    with pytest.raises(SettingsError, match=f"{rail}_callback_token must be 24 to 128") as refused:
        build(**account, **{f"{rail}_callback_token": token})
    assert not token or f"{token!r}" not in str(refused.value)


@pytest.mark.parametrize(("rail", "account"), [("paystack", PAYSTACK), ("pawapay", PAWAPAY)])
def test_without_a_callback_token_a_rail_works_and_hears_no_callback(rail, account):
    assert build(**account)[rail].read_callback("main", {}, b'{"depositId": "x"}') is None


# Accounts: the declared environment, the identity of the credentials, former credentials.


HUBTEL = {
    "hubtel_environment": "live",
    "hubtel_pos_sales_id": "2017001",
    "hubtel_client_id": "a-client",
    "hubtel_client_secret": "a-client-secret",
}
ACCOUNTS = {"mtn_momo": COLLECTION, "paystack": PAYSTACK, "hubtel": HUBTEL, "pawapay": PAWAPAY}


@pytest.mark.parametrize("rail", ACCOUNTS)
def test_a_rail_that_is_set_up_has_its_environment_declared(rail):
    key = f"{rail}_environment"
    given = {name: value for name, value in ACCOUNTS[rail].items() if name != key}
    with pytest.raises(SettingsError, match=f"^{key} is missing: write live where .*, test where"):
        build(**given)
    assert build(**ACCOUNTS[rail])[rail].environment == ACCOUNTS[rail][key]


SANDBOX = {"mtn_momo_target_environment": "sandbox", "mtn_momo_currency": "EUR"}


@pytest.mark.parametrize(
    ("rail", "changes", "told"),
    [
        ("paystack", {"paystack_environment": "live"}, "begins with sk_test_: that account is test"),
        ("paystack", {"paystack_secret_key": "sk_live_1"}, "begins with sk_live_: that account is live"),
        ("mtn_momo", SANDBOX, "mtn_momo_target_environment is sandbox: that account is test"),
        ("pawapay", {"pawapay_environment": "test"}, "leads to api.pawapay.io: that account is live"),
        ("pawapay", {"pawapay_base_url": "https://api.sandbox.pawapay.io"}, "that account is test"),
    ],
)
def test_a_declaration_that_is_provably_wrong_stops_the_start(rail, changes, told):
    declared = (ACCOUNTS[rail] | changes)[f"{rail}_environment"]
    with pytest.raises(SettingsError, match=f"^{rail}_environment is {declared}, but .*{told}"):
        build(**ACCOUNTS[rail] | changes)


@pytest.mark.parametrize(
    ("rail", "changes"),
    [
        ("mtn_momo", {"mtn_momo_collection_user": "other"}),
        ("mtn_momo", DISBURSEMENT),
        ("paystack", {"paystack_secret_key": "sk_test_2"}),
        ("hubtel", {"hubtel_pos_sales_id": "2017009"}),
        ("hubtel", {"hubtel_prepaid_deposit_id": "2017002"}),
        ("pawapay", {"pawapay_token": "another-token"}),
    ],
)
def test_other_credentials_are_another_identity_that_is_no_secret(rail, changes):
    given = ACCOUNTS[rail]
    before, after = build(**given)[rail].account, build(**given | changes)[rail].account
    assert before == build(**given)[rail].account
    assert before.identity != after.identity
    assert not any(given.get(key, "\0") in str(before) for key in SECRETS)


FORMER = {
    "mtn_momo": {
        "mtn_momo_former_collection_user": "former",
        "mtn_momo_former_collection_key": "former-key",
        "mtn_momo_former_collection_subscription_key": "former-subscription",
    },
    "paystack": {"paystack_former_account": "first", "paystack_former_secret_key": "sk_live_0"},
    "hubtel": {
        "hubtel_former_pos_sales_id": "2017000",
        "hubtel_former_client_id": "former-client",
        "hubtel_former_client_secret": "former-secret",
    },
    "pawapay": {"pawapay_former_token": "former-token"},
}


@pytest.mark.parametrize("rail", ACCOUNTS)
def test_former_credentials_make_a_connector_of_their_account(rail):
    given = Settings(**ACCOUNTS[rail], **FORMER[rail])
    (former,) = build_former_rails(given, Transport(), SystemClock())[rail]
    present = build_rails(given, Transport(), SystemClock())[rail]
    assert former.account.identity != present.account.identity
    assert former.account.base_url == present.account.base_url
    labels = {"paystack": "first", "hubtel": "2017000"}
    assert former.account.account == labels.get(rail, "main")
    assert build_former_rails(Settings(**ACCOUNTS[rail]), Transport(), SystemClock()) == {}


@pytest.mark.parametrize("rail", ["mtn_momo", "hubtel"])
def test_half_of_former_credentials_is_refused_with_what_is_missing(rail):
    *_, missing = FORMER[rail]
    given = {key: value for key, value in FORMER[rail].items() if key != missing}
    with pytest.raises(SettingsError, match=f"{missing} is missing"):
        build_former_rails(Settings(**ACCOUNTS[rail], **given), Transport(), SystemClock())
