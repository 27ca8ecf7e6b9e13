"""Which internet addresses a crawler may connect to: public ones only.

The decision is taken on the resolved address, so that odd notations (`0x7f.1`, `2130706433`) have already
become what they mean. The list is our own: `ipaddress.is_global` differs between Python releases and calls
NAT64, 6to4 and site-local addresses global.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# IANA special-purpose registries for IPv4 (RFC 6890 and its updates), plus multicast and reserved space.
_CLOSED_IPV4 = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only 2000::/3 is global unicast; these parts of it are not for hosts of the public internet.
_OPEN_IPV6 = IPv6Network("2000::/3")
_CLOSED_IPV6 = tuple(IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "3fff::/20"))

_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")


def is_public(address: str) -> bool:
    """True when a host of the public internet may stand at that address.

    Args:
        address: IPv4 or IPv6 address as the resolver gives it, e.g. "93.184.216.34" or "fe80::1%eth0".
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_ipv4(parsed)
    carried = _carried_ipv4(parsed)
    if carried:
        return all(map(_is_public_ipv4, carried))
    return parsed in _OPEN_IPV6 and not any(parsed in block for block in _CLOSED_IPV6)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in block for block in _CLOSED_IPV4)


def _carried_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses that a packet to this IPv6 address may end at."""
    bits = int(address)
    last = bits & 0xFFFFFFFF
    if address.ipv4_mapped is not None or address in _NAT64:
        return (IPv4Address(last),)
    if address in _SIX_TO_FOUR:
        return (IPv4Address((bits >> 80) & 0xFFFFFFFF),)
    if address in _TEREDO:
        # RFC 4380: the server in bits 32-63, the client inverted in the last 32.
        return (IPv4Address((bits >> 64) & 0xFFFFFFFF), IPv4Address(last ^ 0xFFFFFFFF))
    return ()
