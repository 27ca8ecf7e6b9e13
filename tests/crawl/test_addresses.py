"""A table of addresses and what they are."""

from __future__ import annotations

import pytest

from dataset_tools.crawl.addresses import is_public

PUBLIC = """
1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.169.0.1
198.17.255.255 198.20.0.1 203.0.112.1 223.255.255.254 11.0.0.1 169.253.1.1 128.0.0.1
2606:4700:4700::1111 2a00:1450:4001:800::200e 2001:4860:4860::8888 2400:cb00::1
::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1
2001:0:808:808:0:0:f7f7:f7f7
"""

CLOSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.1.2.3 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.8 192.0.0.9 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::7f00:1 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:1::1
2001:0:7f00:1::1 2001:0:808:808:0:0:80ff:fffe 2001:db8::1 2001:10::1 2001:20::1 3fff::1
fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd12:3456::1 ff02::1 100::1 5f00::1 4000::1
localhost 127.1 0x7f.1 2130706433
"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_may_be_asked(address):
    assert is_public(address)


@pytest.mark.parametrize("address", CLOSED.split())
def test_all_other_addresses_may_not(address):
    assert not is_public(address)
