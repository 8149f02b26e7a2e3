"""Which addresses may be called: in every form that a number can have."""

from __future__ import annotations

import socket

import pytest

from penstock.errors import PenstockError
from penstock.model.address import allowed_by, refusal
from penstock.settings import Settings

NOWHERE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::a00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", NOWHERE)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert "no public address" in str(refusal(address, ()))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may_be_called(address: str) -> None:
    assert refusal(address, ()) is None


@pytest.mark.parametrize(
    "text", ["2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0x7f.1", "0", "3232235777"]
)
def test_other_forms_of_a_number_are_what_the_system_makes_of_them(text: str) -> None:
    [address] = {str(one[4][0]) for one in socket.getaddrinfo(text, 80, type=socket.SOCK_STREAM)}
    assert refusal(address, ()) is not None


def test_what_the_operator_allows_may_be_called_in_every_form() -> None:
    allowed = allowed_by(Settings(host="0.0.0.0", callback_allow="10.1.0.0/16, fd00::/8"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00::1"):
        assert refusal(address, allowed) is None
    for address in ("10.2.0.1", "127.0.0.1", "::1", "169.254.169.254"):
        assert refusal(address, allowed) is not None


@pytest.mark.parametrize(
    ("settings", "alone"),
    [
        (Settings(), True),
        (Settings(host="localhost"), True),
        (Settings(host="::1"), True),
        (Settings(host="0.0.0.0"), False),
        (Settings(host="::"), False),
        (Settings(host="192.168.0.5"), False),
        (Settings(host="penstock.internal"), False),
        (Settings(hosts="penstock.example.com"), False),
        (Settings(trusted_proxies="127.0.0.1"), False),
        (Settings(root_path="/penstock"), False),
    ],
)
def test_the_machine_itself_may_be_called_by_a_server_that_only_it_reaches(settings: Settings, alone: bool) -> None:
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert (refusal(address, allowed_by(settings)) is None) is alone
    assert refusal("10.0.0.1", allowed_by(settings)) is not None


@pytest.mark.parametrize("text", ["10.0.0.1/8", "internal", "10.0.0.0/33"])
def test_what_is_no_network_is_told_when_the_server_starts(text: str) -> None:
    with pytest.raises(PenstockError, match="PENSTOCK_CALLBACK_ALLOW"):
        allowed_by(Settings(callback_allow=text))
