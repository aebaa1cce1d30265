"""200 connections at once over a chain of four cards: all served, none starved, every byte in its place, memory bounded."""

import asyncio
import hashlib
import random
import threading
from collections.abc import Sequence

from bench.channels.channel import State
from bench.channels.message import MessageType
from bench.host.service import resident_bytes
from bench.observe import Direction, Observation, Packet
from bench.rig.build import Rig
from tests.gateway.support import PATIENCE_S, Gate, gateway, wait

CARDS = 4
CONNECTIONS = 200
BYTES = 16_000
JAIN = 0.95


class Carried:
    """Every DATA message between the host and the first card, in order: whose, and how long."""

    def __init__(self) -> None:
        self.of: dict[Direction, list[tuple[tuple[int, int], int]]] = {Direction.IN: [], Direction.OUT: []}

    def watch(self, rig: Rig) -> None:
        rig.tap.listeners.append(self._seen)

    def _seen(self, observation: Observation) -> None:
        if isinstance(observation, Packet) and observation.hop == 1 and observation.node == 0:
            packet = observation.data
            if observation.kind == "channel" and packet[0] & 0x0F == MessageType.DATA:
                card = packet[1] if observation.direction is Direction.OUT else packet[2]
                self.of[observation.direction].append(((card, packet[3]), len(packet)))


def jain(shares: Sequence[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def worst_window(messages: list[tuple[tuple[int, int], int]], most: int) -> tuple[float, int]:
    """The worst index over windows of 10 messages a channel while all are backlogged, and how many windows there were.

    All are backlogged from the moment each has had a message to that at which the first has had its last.
    """
    flows = sorted({flow for flow, _ in messages})
    width = 10 * len(flows)
    began = max(next(at for at, (flow, _) in enumerate(messages) if flow == each) for each in flows)
    seen = dict.fromkeys(flows, 0)
    ended = len(messages)
    for at, (flow, length) in enumerate(messages):
        seen[flow] += length - 5
        if seen[flow] >= most:
            ended = at
            break
    worst, windows = 1.0, 0
    for start in range(began, ended - width, width // 10):
        shares = dict.fromkeys(flows, 0.0)
        for flow, length in messages[start : start + width]:
            shares[flow] += length
        worst = min(worst, jain(list(shares.values())))
        windows += 1
    return worst, windows


async def talk(address: str, port: int, data: bytes, everyone: asyncio.Barrier) -> bool:
    reader, writer = await asyncio.open_connection(address, port)
    await everyone.wait()
    await everyone.wait()  # the gateway is held from here on
    writer.write(data)
    writer.write_eof()
    await everyone.wait()
    digest = hashlib.sha256()
    while part := await reader.read(65_536):
        digest.update(part)
    writer.close()
    return digest.digest() == hashlib.sha256(data).digest()


async def all_at_once(gate: Gate, everyone: asyncio.Barrier) -> None:
    """Hold the gateway while everybody says all of it: on a machine that stands still for a moment the first would be done before the last begins."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(PATIENCE_S)

    pipes = gate.running.service.host.gateway._pipes

    def opened() -> int:
        return sum(pipe.channel is not None and pipe.channel.state is State.OPEN for pipe in pipes)

    holder = threading.Thread(target=lambda: gate.call(hold), daemon=True)
    try:
        await everyone.wait()
        await asyncio.to_thread(wait, lambda: gate.call(opened) == CONNECTIONS)
        holder.start()
        await asyncio.to_thread(held.wait, PATIENCE_S)
        await everyone.wait()
        await everyone.wait()
    finally:
        release.set()
    await asyncio.to_thread(holder.join, PATIENCE_S)


def test_200_connections_over_a_chain_of_four_cards() -> None:
    carried = Carried()
    randoms = random.Random(200)
    with gateway(cards=CARDS, profile="large", mtu="256", prepare=carried.watch) as gate:
        ports = [gate.port("echo", card) for card in range(1, CARDS + 1)]
        before = resident_bytes()

        async def everybody() -> list[bool]:
            everyone = asyncio.Barrier(CONNECTIONS + 1)
            talks = [
                talk(gate.address, ports[number % CARDS], randoms.randbytes(BYTES), everyone)
                for number in range(CONNECTIONS)
            ]
            together = asyncio.create_task(all_at_once(gate, everyone))
            intact = await asyncio.wait_for(asyncio.gather(*talks), 4 * PATIENCE_S)
            await together
            return intact

        intact = asyncio.run(everybody())
        assert intact == [True] * CONNECTIONS
        grown = resident_bytes() - before
        assert grown < 64 << 20, f"{grown} bytes more for {CONNECTIONS} connections (the clients' own included)"
        gate.idle()
    for direction, messages in carried.of.items():
        worst, windows = worst_window(messages, BYTES)
        print(f"{direction}: worst Jain {worst:.4f} over {windows} windows of {10 * CONNECTIONS} messages")
        assert windows >= 10
        assert worst >= JAIN, f"{direction}: {worst:.4f}"
