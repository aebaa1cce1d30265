"""A first declaration, written from what a card shows of itself: its answer to reset, its answer to HELLO, and whether it answers a ping.

Nothing is written to the card, and nothing is sent that an ordinary host would not send. What a card does not show is left for a human, and is said.
The same card gives the same text: it holds no date and no name of the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.engine import Engine
from bench.hop.control import MAX_MTU, NodeFacts
from bench.host.router import Router
from bench.iso7816.atr import T15, Atr, AtrError, SpecificMode, parse_atr
from bench.iso7816.atr_values import Edc
from bench.iso7816.compact_tlv import CompactTag
from bench.iso7816.errors import CompactTlvError
from bench.iso7816.rates import RATE_DEFAULT
from bench.net.chain_control import address_of
from bench.rig.build import Rig
from bench.rig.errors import RigError

POWER_S: Final = 30
HELLO_S: Final = 10
PING_S: Final = 5
VERSION_OF: Final = {4: "4", 16: "6"}
"""Bytes of an address -> version of IP."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first card of a rig showed."""

    atr: bytes
    read: Atr
    facts: NodeFacts | None
    """Its answer to HELLO; None where it gave none."""
    versions: tuple[str, ...]
    """Versions of IP in which it answered a ping at its numbered address."""
    asked_ip: bool
    """Whether it was pinged at all."""

    @property
    def stack(self) -> str:
        """channel, ip, both or none, as far as it showed."""
        channel = self.facts is not None and self.facts.channels > 0
        return {(True, True): "both", (True, False): "channel", (False, True): "ip"}.get(
            (channel, bool(self.versions)), "none"
        )


def look(rig: Rig, name: str) -> Seen:
    """Power the first card of a rig that was just built, greet it, ping it. Raises RigError where there is no card to speak to."""
    engine, host = rig.engine, rig.host
    engine.call(host.start)
    link = host.link
    if not _within(engine, lambda: link.powered, POWER_S):
        raise RigError(f"rig {name}: no card that can be spoken to: {link.last_error or 'mute'}; put one in")
    atr = link.atr
    try:
        read = parse_atr(atr)
    except AtrError as error:
        raise RigError(f"rig {name}: answer to reset {atr.hex(' ').upper()}: {error}") from error
    _within(engine, lambda: 1 in host.cards, HELLO_S)
    facts = host.cards.get(1)
    router = rig.network.router if rig.network is not None else None
    versions = _answers(engine, router) if router is not None and facts is not None else ()
    return Seen(atr, read, facts, versions, router is not None)


def _within(engine: Engine, done: Callable[[], bool], seconds: int) -> bool:
    return engine.wait(done, engine.timebase.nanoseconds(seconds * 10**9))


def _answers(engine: Engine, router: Router) -> tuple[str, ...]:
    """The versions of IP in which the first card answers an echo request."""
    back: set[bytes] = set()
    targets = {VERSION_OF[size]: address_of(prefix, 1) for size, prefix in router.prefixes.items()}

    def ask() -> None:
        router.node.on_echo_reply = lambda source, _message, _now: back.add(source)
        for sequence, target in enumerate(targets.values()):
            router.node.ping(target, 0x7816, sequence, b"declare", engine.now)

    engine.call(ask)
    _within(engine, lambda: len(back) == len(targets), PING_S)
    return tuple(version for version, target in sorted(targets.items()) if target in back)


def first_declaration(seen: Seen) -> str:
    """The file's text: what was seen, with a comment on how, and what a human must fill in."""
    lines = [
        "# A first declaration, written by `cardbench declare` from what the card showed (docs/declarations.md tells of each line).",
        "# Check each line: what is declared is what the card is held to. Lines marked FILL IN only its maker knows.",
        "card: FILL IN, product and version",
        "# vendor: FILL IN",
        "# sample: FILL IN, serial number or mark of the sample" + _identity(seen),
        f"atr: {seen.atr.hex(' ').upper()}",
        *_link(seen.read),
        *_ordinary(seen.read),
        "# files: reference                 # FILL IN where it has the reference card's files (docs/card.md)",
        "# applications: [echo, counter]    # FILL IN (docs/applications.md)",
        *_stack(seen),
        "# memory: 16 KiB                   # FILL IN: memory for the stack; no card tells it",
        "deviations: []",
        "# deviations:                      # FILL IN: requirements that it does not meet, each with what it does instead",
        "#   - {name: small-mru, requirements: [PPP-LCP-3], text: takes no frame longer than the MRU that was agreed}",
    ]
    return "\n".join(lines) + "\n"


def _identity(seen: Seen) -> str:
    if seen.facts is None or not seen.facts.identity:
        return ""
    return f" (identity in its HELLO ANSWER: {seen.facts.identity.hex().upper()})"


def _link(atr: Atr) -> list[str]:
    """Protocols, rates, classes, mode, and T=1's own."""
    rates = sorted({RATE_DEFAULT, atr.ta1})
    offered = f"TA1 = {atr.ta1:02X}" if atr.ta1 != RATE_DEFAULT else "no other than the default one"
    lines = [
        f"protocols: [{', '.join(f'T={each}' for each in atr.protocols if each in (0, 1))}]  # in the order of its answer to reset",
        f"rates: [{', '.join(f'{each:02X}' for each in rates)}]  # FILL IN any between; its answer to reset names {offered}",
    ]
    if any(group.protocol == T15 for group in atr.groups) and atr.classes:
        lines.append(f"classes: [{', '.join(atr.classes)}]  # of its answer to reset")
    else:
        lines.append("# classes: [A, B]                  # FILL IN: its answer to reset names none")
    lines.append(f"mode: {_mode(atr.specific_mode)}")
    if 1 in atr.protocols:
        lines += [f"ifsc: {atr.ifsc}", f"edc: {'CRC' if atr.edc is Edc.CRC else 'LRC'}"]
    return lines


def _mode(specific: SpecificMode | None) -> str:
    if specific is None:
        return "negotiable"
    return "specific" if specific.can_change else "specific-fixed"


def _ordinary(atr: Atr) -> list[str]:
    """What the card capabilities among its historical bytes say (ISO/IEC 7816-4, 12.1.1.9, third byte)."""
    try:
        historical = atr.historical
    except CompactTlvError:
        historical = None
    for each in historical.objects if historical is not None else ():
        if each.tag == CompactTag.CARD_CAPABILITIES and len(each.value) == 3:
            third = each.value[2]
            said = "  # of its historical bytes, card capabilities"
            return [f"extended: {_truth(third & 0x40)}{said}", f"chaining: {_truth(third & 0x80)}{said}"]
    return [
        "# extended: true                   # FILL IN: its historical bytes do not tell",
        "# chaining: false                  # FILL IN: its historical bytes do not tell",
    ]


def _truth(bit: int) -> str:
    return "true" if bit else "false"


def _stack(seen: Seen) -> list[str]:
    facts = seen.facts
    if facts is None:
        return [f"stack: none  # it gave no answer to HELLO within {HELLO_S} s"]
    pinged = f"answered a ping over IPv{' and IPv'.join(seen.versions)}" if seen.versions else "answered no ping"
    ip = pinged if seen.asked_ip else "was not asked for IP"
    lines = [f"stack: {seen.stack}  # HELLO ANSWER: {facts.channels} channels; it {ip}"]
    lines.append(f"mtu: {facts.mtu}  # of its HELLO ANSWER, to a host that offered {MAX_MTU}")
    lines.append(f"ports: {facts.ports}")
    if facts.channels:
        lines.append(f"channels: {facts.channels}")
    if seen.versions:
        lines += [
            f"versions: [{', '.join(seen.versions)}]",
            "addressing: [numbered]  # FILL IN others that it can: static, pool, ppp",
            "# transports: [tcp, udp]           # FILL IN",
        ]
    return lines
