import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.payer import Msisdn, Network, Payer

national = st.from_regex(r"[25][0-9]{8}", fullmatch=True)


@given(national)
def test_every_common_notation_of_a_number_is_the_same_wallet(digits: str):
    ways = [
        f"0{digits}",
        f"233{digits}",
        f"+233{digits}",
        f"+233 {digits[:2]} {digits[2:5]} {digits[5:]}",
        f"0{digits[:2]}-{digits[2:5]}-{digits[5:]}",
    ]
    assert {Msisdn.parse(way) for way in ways} == {Msisdn("233" + digits)}
    assert Msisdn.parse(Msisdn("233" + digits).local).digits == "233" + digits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "241234567",
        "0341234567",
        "02412345678",
        "024123456",
        "+44241234567",
        "024123456x",
        "++233241234567",
        "٠٢٤١٢٣٤٥٦٧",
    ],
)
def test_a_number_that_is_not_a_ghanaian_mobile_number_is_refused(text: str):
    with pytest.raises(ValueError, match="Ghanaian mobile number"):
        Msisdn.parse(text)


@given(national)
def test_a_number_is_masked_in_every_text_form(digits: str):
    number = Msisdn("233" + digits)
    masked = f"233{digits[:2]}****{digits[-3:]}"
    for printed in (str(number), repr(number), f"{number}", repr(Payer(number))):
        assert masked in printed
        assert sum(sign.isdigit() for sign in printed) == 8


def test_the_prefix_is_only_a_hint():
    ported = Payer(Msisdn.parse("0241234567"), Network.TELECEL)
    assert ported.msisdn.network_hint is Network.MTN
    assert ported.likely_network is Network.TELECEL
    assert Payer(Msisdn.parse("0201234567")).likely_network is Network.TELECEL
    assert Payer(Msisdn.parse("0591234567")).likely_network is Network.MTN
    assert Payer(Msisdn.parse("0211234567")).likely_network is None
