import pytest

from rag.api.addresses import Proxies
from rag.errors import SetupError


def scope(peer, *forwarded):
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"type": "http", "client": (peer, 4711) if peer else None, "headers": headers}


def test_without_a_trusted_proxy_the_header_is_not_looked_at():
    assert Proxies(None).client(scope("192.0.2.1", "198.51.100.7")) == "192.0.2.1"
    assert Proxies("").client(scope("192.0.2.1", "198.51.100.7")) == "192.0.2.1"
    assert Proxies("10.0.0.0/8").client(scope("192.0.2.1", "198.51.100.7")) == "192.0.2.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (("198.51.100.7",), "198.51.100.7"),
        (("198.51.100.7, 10.1.1.1",), "198.51.100.7"),
        (("198.51.100.7", "10.1.1.1"), "198.51.100.7"),
        (("6.6.6.6, 198.51.100.7",), "198.51.100.7"),  # what stands before was written by the client
        (("10.9.9.9, 198.51.100.7",), "198.51.100.7"),
        (("nonsense, 10.1.1.1",), "10.1.1.1"),
        (("198.51.100.7, nonsense",), "10.0.0.1"),
        (("é",), "10.0.0.1"),
        (("10.2.2.2",), "10.2.2.2"),
        (("",), "10.0.0.1"),
        ((), "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_is_believed_as_far_as_trust_goes(forwarded, client):
    assert Proxies("10.0.0.0/8, 2001:db8::1").client(scope("10.0.0.1", *forwarded)) == client


def test_ipv6_counts_by_what_one_customer_has():
    of = Proxies("2001:db8::1")
    first, second, other = (f"2001:db9:0:{net}::{host}" for net, host in (("1", "1"), ("1", "ffff"), ("2", "1")))
    assert of.client(scope(first)) == of.client(scope(second)) == "2001:db9:0:1::/64"
    assert of.client(scope(other)) != of.client(scope(first))
    assert of.client(scope("2001:db8::1", "192.0.2.9")) == "192.0.2.9"


def test_a_mapped_address_is_the_one_it_maps():
    assert Proxies("10.0.0.0/8").client(scope("::ffff:10.0.0.1", "192.0.2.9")) == "192.0.2.9"


def test_a_peer_without_an_address():
    assert Proxies("10.0.0.0/8").client(scope(None, "192.0.2.9")) == "unknown"
    assert Proxies("10.0.0.0/8").client(scope("/run/socket", "192.0.2.9")) == "unknown"


def test_what_is_no_network_says_so_at_start():
    with pytest.raises(SetupError, match="CLOISTER_TRUSTED_PROXIES: 'proxy'"):
        Proxies("10.0.0.1, proxy")
