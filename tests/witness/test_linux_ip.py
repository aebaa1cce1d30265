"""The Linux kernel as a witness of the IP stack: ping, curl, iperf3 and plain sockets at a chain of three cards, through a TUN device.

Once on a sound link at each MTU, once with loss and reordering on it. In the end tshark goes through everything that crossed the link.

Known limits of the Linux sender: many fragments are more than a socket's usual buffer holds (ENOBUFS), so ping is given a larger one; no IPv6
packet is sent in pieces below 1280.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.net.ipv4 import Ipv4
from bench.net.protocols import address
from bench.net.segment import ACK, Segment, build_segment
from bench.records.pcapng import Flow, LinkType, PcapngWriter
from tests.witness.linux_net import BAD, FORWARDER, OF_THE_KERNEL, Lab, card4, card6, lab, missing_means, tshark_finds
from tests.witness.programs import tool

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(missing_means()), reason=missing_means() or "nothing is missing"),
]

MTUS = (128, 576, 1280, 1500)
BULK = {128: 40_000, 576: 150_000, 1280: 250_000, 1500: 250_000}
"""Bytes each way."""
ECHO, WEB = 7, 80
CONNECTIONS = 50
LOSSY = {"uplink_loss": "0.02", "uplink_jitter": "8 ms"}
"""Of a hundred packets two are lost each way; what follows within 8 ms may overtake."""


@pytest.fixture(scope="module", params=MTUS, ids=lambda mtu: f"mtu-{mtu}")
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Hops and link of one MTU."""
    with lab(tmp_path_factory.mktemp("sound"), request.param, request.param) as made:
        yield made
        sane(made)


@pytest.fixture(scope="module", params=[576, 1500], ids=lambda mtu: f"mtu-{mtu}")
def lossy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A link of 1500 that loses and reorders, before hops of another MTU."""
    with lab(tmp_path_factory.mktemp("lossy"), request.param, 1500, seed=5, **LOSSY) as made:
        yield made
        sane(made)


def sizes(mtu: int, header: int, longest: int) -> list[int]:
    """Payloads of an echo around every border: no data, a timestamp, one packet, two, many."""
    whole = mtu - header - 8
    per_fragment = (mtu - header) // 8 * 8
    around = (whole, 2 * per_fragment - 8, 3 * per_fragment - 8)
    wanted = {0, 1, 15, 16, 56, 1000, 2047, 4096} | {each + by for each in around for by in (-1, 0, 1)}
    return sorted(each for each in wanted if 0 <= each <= longest)


def ping(lab: Lab, where: str, size: int) -> None:
    """An echo, compared by ping itself byte for byte. (One at a time: of the last it waits for no longer than twice what the others took.)"""
    words = ("-c", "1", "-W", "10", "-S", str(1 << 20), "-s", str(size))
    said = lab.checked(tool("ping"), *words, where)
    assert re.search(r"1 packets transmitted, 1 received, 0% packet loss", said), said
    assert "wrong data" not in said


def test_ping_in_all_sizes(sound: Lab) -> None:
    for size in sizes(sound.mtu, 20, 4096):
        ping(sound, card4(3), size)


def test_ping6_in_all_sizes(sound: Lab) -> None:
    if sound.mtu < 1280:
        said = sound.run(tool("ping"), "-c", "1", "-W", "1", card6(3))
        assert said.returncode, "Linux has no IPv6 on such a link"
        return
    for size in sizes(sound.mtu, 40, 4096):
        ping(sound, card6(3), size)


def test_every_card_answers_by_its_own_address(sound: Lab) -> None:
    for number in (1, 2, 3):
        said = sound.checked(tool("ping"), "-c", "1", "-W", "10", card4(number))
        assert f"from {card4(number)}: icmp_seq=1 ttl={64 - number}" in said, "each card before it has routed"


def test_what_lies_beyond_the_chain_is_told(sound: Lab) -> None:
    said = sound.run(tool("ping"), "-c", "1", "-W", "10", card4(9))
    assert said.returncode
    assert "Unreachable" in said.stdout, said


def curl_file(lab: Lab, host: str, card: int) -> None:
    """The content of a card's file, as the card has it."""
    chain = lab.running.rig.chain
    assert chain is not None
    want = chain.cards[card - 1].files.content(0x0002)
    assert want is not None
    got = lab.checked(tool("curl"), "-sS", "-m", "40", f"http://{host}/files/0002", timeout=45)
    assert got.encode() == want


def test_curl_reaches_every_card(sound: Lab) -> None:
    for number in (1, 2, 3):
        curl_file(sound, card4(number), number)
        if sound.mtu >= 1280:
            curl_file(sound, f"[{card6(number)}]", number)


def echoed(host: str, data: bytes, limit: float) -> bytes:
    """What the card's echo makes of it, and its end."""

    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection(host, ECHO)

        async def give() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        giving = asyncio.create_task(give())
        got = await reader.read(-1)
        await giving
        writer.close()
        return got

    return asyncio.run(asyncio.wait_for(talk(), limit))


def there_and_back(lab: Lab, host: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    got = lab.within(lambda: echoed(host, data, 60), 65)
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(data).hexdigest(), f"{len(got)} of {size} bytes"


def test_bulk_there_and_back_is_intact(sound: Lab) -> None:
    there_and_back(sound, card4(3), BULK[sound.mtu])
    if sound.mtu >= 1280:
        there_and_back(sound, card6(3), BULK[sound.mtu])


def iperf(lab: Lab, seconds: int, *more: str) -> dict[str, object]:
    """iperf3 to a card, which hands everything on to an iperf3 server of the machine. (Told a size, it ends when its own kernel has all of it.)"""
    with lab.serving(tool("iperf3"), "-s", "-1", port=FORWARDER):
        said = lab.run("iperf3", "-c", card4(3), "-p", str(FORWARDER), "-t", str(seconds), "-l", "2K", "-J", *more)
    result: dict[str, object] = json.loads(said.stdout)
    assert said.returncode == 0, result.get("error")
    return result


@pytest.mark.parametrize("direction", ["to", "from"])
def test_iperf3_through_a_card(sound: Lab, direction: str) -> None:
    result = iperf(sound, 1, *(["-R"] if direction == "from" else []))
    assert received(result) > 10 * sound.mtu, "it goes on beyond the first window"


def received(result: dict[str, object]) -> int:
    end = result["end"]
    assert isinstance(end, dict)
    return int(end["sum_received"]["bytes"])


def many(hosts: list[str], size: int, limit: float) -> list[bool]:
    """So many conversations at once, each with content of its own; whether each came back whole."""

    async def one(number: int, host: str) -> bool:
        data = random.Random(number).randbytes(size)
        reader, writer = await asyncio.open_connection(host, ECHO)
        writer.write(data)
        writer.write_eof()
        got = await reader.read(-1)
        writer.close()
        return got == data

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(one(number, host) for number, host in enumerate(hosts)))

    return asyncio.run(asyncio.wait_for(all_of_them(), limit))


def test_fifty_connections_at_once(sound: Lab) -> None:
    hosts = [card4(1 + number % 3) for number in range(CONNECTIONS)]
    assert sound.within(lambda: many(hosts, 20 * sound.mtu // 3, 60), 65) == [True] * CONNECTIONS


# -- with loss and reordering ------------------------------------------------------------------------------------------------


def test_bulk_survives_loss(lossy: Lab) -> None:
    there_and_back(lossy, card4(3), 60_000)
    assert lossy.running.line.lost, "nothing was lost: the test shows nothing"


def test_bulk_survives_loss_over_ipv6(lossy: Lab) -> None:
    if lossy.mtu < 1280:
        said = lossy.run(tool("ping"), "-c", "3", "-i", "0.1", "-W", "3", "-M", "do", "-s", "1000", card6(3))
        assert f"Packet too big: mtu={lossy.mtu}" in said.stdout, "told by the router, as RFC 4443 asks"
        return
    there_and_back(lossy, card6(3), 60_000)


def test_curl_survives_loss(lossy: Lab) -> None:
    for number in (1, 2, 3):
        curl_file(lossy, card4(number), number)


@pytest.mark.parametrize("direction", ["to", "from"])
def test_iperf3_survives_loss(lossy: Lab, direction: str) -> None:
    result = iperf(lossy, 2, *(["-R"] if direction == "from" else []))
    assert received(result) > 10 * lossy.mtu


def test_fifty_connections_survive_loss(lossy: Lab) -> None:
    hosts = [card4(1 + number % 3) for number in range(CONNECTIONS)]
    assert lossy.within(lambda: many(hosts, 2000, 60), 65) == [True] * CONNECTIONS


WRONG = f"({BAD}) && !({OF_THE_KERNEL})"


def sane(lab: Lab) -> None:
    """tshark's word on all that crossed the link, whichever of the tests a worker was given."""
    tool("tshark")
    there_and_back(lab, card4(1), 1000)
    copy: Path = lab.capture.with_suffix(".copy.pcapng")
    lab.running.drive.call(lambda: shutil.copy(lab.capture, copy))
    assert tshark_finds(copy, WRONG) == []
    assert tshark_finds(copy, "tcp")


@pytest.mark.parametrize("place", [10, 25, 41, 60], ids=["ip-header", "port", "tcp-flags", "data"])
def test_tshark_would_see_one_wrong_byte(tmp_path: Path, place: int) -> None:
    tool("tshark")
    here, there = address("10.78.0.1"), address("10.78.16.2")
    segment = Segment(1024, 7, 1, 1, ACK, 8192, bytes(40))
    packet = bytearray(Ipv4(here, there, 6, build_segment(here, there, segment)).encode())
    for damaged in (False, True):
        packet[place % len(packet)] ^= damaged
        file = captured(tmp_path / f"{damaged}.pcapng", bytes(packet))
        assert bool(tshark_finds(file, WRONG)) == damaged


def captured(file: Path, packet: bytes) -> Path:
    with file.open("wb") as stream:
        writer = PcapngWriter(stream)
        writer.packet(writer.interface("uplink", LinkType.RAW_IP), 0, packet, Flow.INBOUND, "")
    return file


@pytest.mark.parametrize(("source", "found"), [("10.78.0.1", False), ("10.78.16.3", True)], ids=["kernel", "card"])
def test_a_card_may_not_write_a_checksum_of_zero_as_linux_does(tmp_path: Path, source: str, found: bool) -> None:
    tool("tshark")
    here, there = address(source), address("10.78.16.2")
    text = bytearray(build_segment(here, there, Segment(1024, 7, 1, 1, ACK, 8192, bytes(2))))
    text[-2:] = text[16:18]  # what the sum lacked goes into the data
    text[16:18] = b"\xff\xff"
    assert (
        bool(tshark_finds(captured(tmp_path / "one.pcapng", Ipv4(here, there, 6, bytes(text)).encode()), WRONG))
        == found
    )
