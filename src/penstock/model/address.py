"""Which addresses this server may call for others: the public ones, and those that its operator allows. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from penstock.errors import PenstockError
from penstock.settings import Settings, listed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_METADATA = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")))
"""Public to some Pythons, and yet what a cloud or a network offers to its own machines alone."""

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def allowed_by(settings: Settings) -> tuple[Network, ...]:
    """The networks that may be called besides the public ones. Raises `PenstockError` for what is no network.

    Those who may use a server that only this machine can reach may use its other ports anyway.
    """
    try:
        named = tuple(ipaddress.ip_network(one) for one in listed(settings.callback_allow))
    except ValueError as error:
        raise PenstockError(f"PENSTOCK_CALLBACK_ALLOW={settings.callback_allow!r}: {error}.") from error
    return named + (LOOPBACK if _alone(settings) else ())


def refusal(text: str, allowed: Collection[Network]) -> str | None:
    """Why the address must not be called; None if it may.

    An IPv4 address inside an IPv6 one is looked at as well: that is where the packets would go.
    """
    address = ipaddress.ip_address(text)
    meant = list(_meant(address))
    if any(one.version == network.version and one in network for one in meant for network in allowed):
        return None
    if all(_public(one) for one in meant):
        return None
    return f"{address} is no public address"


def _meant(address: Address) -> Iterator[Address]:
    """The address, or the one that it carries: packets to a carrier go there."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            return
        if address.sixtofour is not None:
            yield address.sixtofour
    yield address


def _public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return address in _UNICAST if address.version == 6 else not any(address in network for network in _METADATA)


def _alone(settings: Settings) -> bool:
    """Whether only this machine reaches the server: it listens here, and no proxy or other name stands before it."""
    if settings.hosts or settings.trusted_proxies or settings.root_path:
        return False
    if settings.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return False
