"""docs/protocol.md, section 5: the vectors of the page, the numbering, and everything that is none of it."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.net.chain_control import (
    AddressPacket,
    ChainControl,
    ChainControlError,
    Deed,
    NamePacket,
    PrefixPacket,
    Refusal,
    address_of,
    beyond,
    decode_chain_control,
    is_label,
)
from bench.net.protocols import address
from bench.net.routes import Prefix
from tests.hop.vectors import Vector, vectors


@pytest.mark.parametrize("vector", vectors("address"), ids=str)
def test_5_vectors(vector: Vector) -> None:
    says = vector.says
    wanted: ChainControl
    if says["type"] == "prefix":
        wanted = PrefixPacket(Prefix.parse(says["prefix"]))
    else:
        node, deed = int(says["node"]), Deed[says["deed"].upper()]
        reason = Refusal[says["reason"].upper().replace("-", "_")]
        if says["type"] == "name":
            wanted = NamePacket(node, deed, reason, says["name"])
        else:
            wanted = AddressPacket(node, deed, reason, address(says["address"]))
    assert decode_chain_control(vector.data) == wanted
    assert wanted.encode() == vector.data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "type 00"),
        ("08 00", "type 08"),
        ("05", "must be 6 or 18"),
        ("05 14 0A 4E 10", "must be 6 or 18"),
        ("05 19 0A 4E 10 00", "at most 24"),
        ("05 79 FD 78 00 16 00 00 00 00 00 00 00 00 00 00 00 00", "at most 120"),
        ("05 14 0A 4E 11 01", "bits beyond"),
        ("05 08 E0 00 00 00", "names no hosts"),
        ("05 08 7F 00 00 00", "names no hosts"),
        ("06 03 00 00", "come before"),
        ("06 00 00 00 0A 00 00 01", "node 0"),
        ("06 FF 00 00 0A 00 00 01", "node 255"),
        ("06 03 04 00 0A 00 00 01", "deed 4"),
        ("06 03 00 00 0A 00 00", "3 bytes"),
        ("06 03 01 00 00 00 00 00", "no single host"),
        ("06 03 01 00 E0 00 00 01", "no single host"),
        ("06 03 01 00 7F 00 00 01", "no single host"),
        ("06 03 00 00 FF 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01", "no single host"),
        ("07 03 00 00 2D 61", "no label"),
        ("07 03 00 00 41", "no label"),
        ("07 03 00 00 61 2E 62", "no label"),
        ("07 03 00 00" + " 61" * 64, "no label"),
    ],
)
def test_what_makes_no_sense_is_named(data: str, why: str) -> None:
    with pytest.raises(ChainControlError, match=why):
        decode_chain_control(bytes.fromhex(data))


@given(st.binary(max_size=80))
def test_any_bytes_decode_to_what_encodes_to_them_or_are_refused(data: bytes) -> None:
    try:
        control = decode_chain_control(data)
    except ChainControlError:
        return
    again = control.encode()
    assert again[:1] == data[:1]
    if isinstance(control, PrefixPacket) or data[3] <= max(Refusal):
        assert again == data


@pytest.mark.parametrize("text", ["10.78.16.0/20", "10.0.0.0/24", "fd78:16::/64", "fd78::/120"])
def test_every_node_has_an_address_and_the_nodes_beyond_are_covered_exactly(text: str) -> None:
    prefix = Prefix.parse(text)
    numbered = [address_of(prefix, node) for node in range(255)]
    assert len(set(numbered)) == 255
    assert all(prefix.holds(each) for each in numbered)
    assert str(ipaddress.ip_address(numbered[0])).endswith(("10.78.16.1", "10.0.0.1", "::1"))
    base = int.from_bytes(prefix.address, "big")
    for node in (0, 1, 2, 7, 62, 63, 127, 200, 253, 254):
        found = beyond(prefix, node)
        assert len(found) <= 8
        covered = {
            offset
            for offset in range(512)
            for each in found
            if each.holds((base + offset).to_bytes(len(prefix.address), "big"))
        }
        assert covered == set(range(node + 2, 256)), f"node {node}"


def test_labels() -> None:
    assert all(is_label(each) for each in ("a", "purse", "card-1", "x" * 63, "7816"))
    assert not any(is_label(each) for each in ("", "-a", "a-", "A", "a.b", "ä", "x" * 64))
