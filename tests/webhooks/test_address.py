"""A merchant's URL cannot reach private networks."""

import ipaddress

import pytest

from synccash.webhooks.address import AddressRefusedError, check_url, is_public

REFUSED = (
    "http://example.com/hook",
    "ftp://example.com/",
    "https://",
    "https:///hook",
    "//example.com/",
    "example.com/hook",
    "https://example.com:22/",
    "https://example.com:80/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://user@example.com/",
    "https://user:word@example.com/",
    "https://:word@example.com/",
    "https://example.com/#part",
    "https://exa mple.com/",
    "https://example.com/\n",
    "https://example.com\\@127.0.0.1/",
    "https://ex\u00e4mple.com/",
    "https://127.0.0.1/",
    "https://127.1.2.3/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[fec0::1]:8443/",
    "https://[ff02::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1:0:0:0:0]/",
    "https://[fe80::1%25eth0]/",
    # Other spellings of 127.0.0.1: what reads them as an address may never ask the resolver.
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0X7F.1/",
    "https://127.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://0/",
    "https://example.com/" + "a" * 2_000,
)


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_could_reach_a_private_network_is_refused(url: str):
    with pytest.raises(AddressRefusedError):
        check_url(url, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?a=b",
        "https://example.com:8443/hook",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        # What such names resolve to is checked when they are used.
        "https://localhost.example.com/",
        "https://127.0.0.1.example.com/",
        "https://example.com./",
        "https://0xdead.beef/",
    ],
)
def test_a_public_url_is_accepted(url: str):
    assert check_url(url, private=False)


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "api.localhost", "10.0.0.1", "[::1]"])
def test_a_refusal_of_a_private_host_names_the_setting_and_the_other_way(host: str):
    with pytest.raises(AddressRefusedError, match=r"webhook_private_addresses.*synccash listen"):
        check_url(f"https://{host}/hook", private=False)


def test_an_operator_can_allow_a_private_network():
    assert check_url("http://127.0.0.1:9000/hook", private=True) == "127.0.0.1"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://user@127.0.0.1/", "gopher://127.0.0.1/"])
def test_with_private_networks_allowed_only_plain_http_urls_are_accepted(url: str):
    with pytest.raises(AddressRefusedError):
        check_url(url, private=True)


@pytest.mark.parametrize("text", ["", "not an address", "127.1", "2130706433"])
def test_text_that_is_not_an_address_is_not_public(text: str):
    assert not is_public(text)


SPECIAL = (
    "100.64.0.0/10",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:db8::/32",
    "2002::/16",
    "3ffe::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)


@pytest.mark.parametrize("block", SPECIAL)
def test_no_address_of_a_special_block_is_public(block: str):
    network = ipaddress.ip_network(block)
    middle = network[network.num_addresses // 2]
    assert not any(is_public(str(address)) for address in (network[0], network[1], middle, network[-1]))


@pytest.mark.parametrize("wrapped", ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "::808:808"])
def test_an_embedded_public_address_is_not_public(wrapped: str):
    assert is_public("8.8.8.8")
    assert not is_public(wrapped)


@pytest.mark.parametrize(
    "address", ["100.63.255.255", "100.128.0.0", "198.17.255.255", "198.20.0.0", "2001:200::1", "2003::1"]
)
def test_the_neighbours_of_special_blocks_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["http://localhost:3000/hooks", "https://localhost:3000/hooks", "https://localhost/hooks"]
)
def test_a_developers_own_address_is_refused_with_what_to_use_instead(url: str):
    with pytest.raises(AddressRefusedError, match="webhook_private_addresses") as refused:
        check_url(url, private=False)
    assert "synccash listen" in str(refused.value)
