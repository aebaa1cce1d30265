"""What a gateway permits: which card may listen where and connect whither, how much, how fast. A YAML file; by default nothing outside this machine.

A rule for networks is held against the address itself, also where the card gave a name. A rule for names permits what the name resolves to, except
this machine's own and link-local addresses: those must be permitted as networks, so that a name's owner cannot point it at the host.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from bench.channels.message import Address, AddressKind, Cause
from bench.files.document import read
from bench.files.mistakes import FileError, Mistake
from bench.files.models import FileModel, check, expected
from bench.files.units import Count, Duration, Size, Span, Whole
from bench.host.uplink import UplinkError

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

DIRECTORY_PORT: Final = 7816
APDU_PORT: Final = 7817
HIGHEST_PORT: Final = 65_535
WHAT: Final = (
    "a gateway policy: a mapping with any of 'listen', 'directory', 'apdu', 'apdu_on', 'cards', 'limits', 'times'"
)
_NAME: Final = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")


@dataclass(frozen=True, slots=True)
class Ports:
    """A set of ports, as ranges."""

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, port: int) -> bool:
        return any(first <= port <= last for first, last in self.ranges)

    def __str__(self) -> str:
        if self.ranges == ANY_PORT.ranges:
            return "any"
        return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)


ANY_PORT: Final = Ports(((1, HIGHEST_PORT),))


@dataclass(frozen=True, slots=True)
class Target:
    """Whither a card may connect: a network, or names (``*.`` before one stands for everything below it)."""

    network: IpNetwork | None
    name: str

    def __str__(self) -> str:
        return self.name if self.network is None else str(self.network)

    def names(self, host: str) -> bool:
        """Whether this rule permits the name ``host``."""
        if self.network is not None or not self.name:
            return False
        wanted = host.lower().removesuffix(".")
        return wanted.endswith(self.name[1:]) if self.name.startswith("*.") else wanted == self.name

    def covers(self, address: IpAddress) -> bool:
        """Whether this rule permits the address itself."""
        return self.network is not None and address.version == self.network.version and address in self.network


@dataclass(frozen=True, slots=True)
class Whose:
    """Which card an entry is for: a node, an identity, or any (both are None)."""

    node: int | None
    identity: bytes | None

    def matches(self, node: int, identity: bytes) -> bool:
        """Whether these rules are for this card."""
        if self.node is not None:
            return node == self.node
        return self.identity is None or identity == self.identity

    def __str__(self) -> str:
        if self.node is not None:
            return str(self.node)
        return "any" if self.identity is None else "0x" + self.identity.hex().upper()


def _ports(value: object) -> Ports:
    if isinstance(value, Ports):
        return value
    wanted = "ports such as 'any', '80' or '80, 8000-8010', each from 1 to 65535"
    if not isinstance(value, str):
        raise expected(wanted)
    if value.strip() == "any":
        return ANY_PORT
    ranges = []
    for part in value.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,5})\s*(?:-\s*([0-9]{1,5})\s*)?", part)
        if found is None:
            raise expected(wanted)
        first = int(found[1])
        last = int(found[2] or found[1])
        if not 1 <= first <= last <= HIGHEST_PORT:
            raise expected(wanted)
        ranges.append((first, last))
    return Ports(tuple(ranges))


def _target(value: object) -> Target:
    if isinstance(value, Target):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            return Target(ipaddress.ip_network(text), "")
        except ValueError:
            looks_numeric = re.fullmatch(r"[0-9./]*|.*:.*|.*/.*", text)
            if not looks_numeric and len(text) <= 253 and _NAME.fullmatch(text.lower()):
                return Target(None, text.lower().removesuffix("."))
    raise expected(
        "a network such as '127.0.0.0/8' or '::1', without bits set behind its prefix, or a name such as 'example.org' or '*.example.org'"
    )


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else _no_address()
    except ValueError:
        return _no_address()


def _no_address() -> str:
    raise expected("an address of this machine such as 127.0.0.1 or '::1' (0.0.0.0 and '::' stand for all)")


def _whose(value: object) -> Whose:
    if isinstance(value, Whose):
        return value
    if isinstance(value, str) and value:
        if value == "any":
            return Whose(None, None)
        if re.fullmatch(r"[0-9]{1,3}", value) and 1 <= int(value) <= 254:
            return Whose(int(value), None)
        if re.fullmatch(r"0x([0-9A-Fa-f]{2}){1,16}", value):
            return Whose(None, bytes.fromhex(value[2:]))
        if not value.isdigit() and re.fullmatch(r"[!-~]{1,16}", value):
            return Whose(None, value.encode("ascii"))
    raise expected("any, a node number from 1 to 254, or a card's identity as text or as 0x and hexadecimal digits")


def _fixed(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    if value == "off":
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value) and int(value) <= HIGHEST_PORT:
        return int(value)
    raise expected("a port from 0 to 65535 (0: the host chooses), or 'off'")


def _directory(value: object) -> int:
    port = _fixed(value)
    if port is None:
        raise expected("a port from 0 to 65535: the directory is always there")
    return port


_TEXT: Final = WithJsonSchema({"type": "string"})
PortsField = Annotated[Ports, PlainValidator(_ports), PlainSerializer(str), _TEXT]
TargetField = Annotated[Target, PlainValidator(_target), PlainSerializer(str), _TEXT]
WhoseField = Annotated[Whose, PlainValidator(_whose), PlainSerializer(str), _TEXT]
AddressField = Annotated[str, PlainValidator(_address), _TEXT]
FixedPort = Annotated[int | None, PlainValidator(_fixed), _TEXT]
DirectoryPort = Annotated[int, PlainValidator(_directory), _TEXT]
Protocols = Literal["tcp", "udp", "both"]


class ListenRule(FileModel):
    """Where a card may listen."""

    ports: Annotated[PortsField, Field(description="ports the card may declare")] = ANY_PORT
    protocol: Annotated[Protocols, Field(description="tcp, udp or both")] = "both"
    on: Annotated[
        tuple[AddressField, ...], Field(description="addresses of this machine; the gateway's own where none is named")
    ] = ()
    chosen: Annotated[Literal["yes", "no"], Field(description="whether the card may let the host choose the port")] = (
        "yes"
    )


class ConnectRule(FileModel):
    """Whither a card may connect."""

    to: Annotated[TargetField, Field(description="a network or a name")]
    ports: Annotated[PortsField, Field(description="ports over there")] = ANY_PORT
    protocol: Annotated[Protocols, Field(description="tcp, udp or both")] = "both"


class CardRules(FileModel):
    """What one card may do; a list that is left out is that of the default, an empty one permits nothing."""

    card: Annotated[WhoseField, Field(description="any, a node number, or an identity")]
    listen: Annotated[tuple[ListenRule, ...], Field(description="where it may listen")] = (ListenRule(),)
    connect: Annotated[tuple[ConnectRule, ...], Field(description="whither it may connect")] = (
        ConnectRule(to=Target(ipaddress.ip_network("127.0.0.0/8"), "")),
        ConnectRule(to=Target(ipaddress.ip_network("::1/128"), "")),
    )


class Limits(FileModel):
    """How many, how fast, how much. A rate of 0 sets no limit."""

    connections: Annotated[Count, Field(description="connections at a time, all cards together", le=100_000)] = 512
    per_card: Annotated[Count, Field(description="connections at a time of one card", le=255)] = 255
    per_peer: Annotated[Whole, Field(description="connections at a time from one address outside; 0: any number")] = 0
    visitors: Annotated[Count, Field(description="connections at a time to each of the host's own ports", le=1000)] = 32
    accepts_per_second: Annotated[Whole, Field(description="connections accepted in a second, of each card")] = 1000
    opens_per_second: Annotated[Whole, Field(description="opens of one card in a second, in the long run")] = 100
    opens_burst: Annotated[Count, Field(description="opens of one card at once")] = 200
    bytes_per_second: Annotated[Whole, Field(description="bytes of one card in a second, each way")] = 0
    memory: Annotated[Size, Field(description="buffers of all connections together, the kernel's included")] = 64 << 20
    socket_buffer: Annotated[Size, Field(description="the kernel's buffer of one connection, each way", ge=4096)] = (
        64 << 10
    )
    udp_peers: Annotated[Count, Field(description="peers at a time of one UDP service", le=255)] = 32
    lookups: Annotated[Count, Field(description="names being resolved at a time", le=256)] = 16


class Times(FileModel):
    """How long the gateway waits."""

    connect: Annotated[Duration, Field(description="for a connection to be made, its name's resolution included")] = (
        Span(10 * 10**9)
    )
    answer: Annotated[Duration, Field(description="for a card's answer to OPEN and CLOSE")] = Span(30 * 10**9)
    keepalive: Annotated[Duration, Field(description="of silence before a TCP peer is probed")] = Span(60 * 10**9)
    vanish: Annotated[
        Duration,
        Field(
            description="in which a peer takes nothing of what was sent, or answers no probe, before it counts as gone"
        ),
    ] = Span(120 * 10**9)
    udp_idle: Annotated[Duration, Field(description="of silence before a peer of a UDP service is forgotten")] = Span(
        60 * 10**9
    )
    idle: Annotated[
        Duration,
        Field(description="without a byte in either direction before a TCP connection is reset; 0 s: any time"),
    ] = Span(300 * 10**9)
    linger: Annotated[Duration, Field(description="for a peer to end its side after the card has closed")] = Span(
        5 * 10**9
    )
    drain: Annotated[Duration, Field(description="for connections to end when the gateway stops")] = Span(10 * 10**9)


class Policy(FileModel):
    """The whole of it. What is not written has the default, which permits nothing outside this machine."""

    listen: Annotated[
        tuple[AddressField, ...], Field(description="addresses to listen on; by default this machine's loopback")
    ] = ()
    directory: Annotated[DirectoryPort, Field(description="port of the directory")] = DIRECTORY_PORT
    apdu: Annotated[FixedPort, Field(description="port of the APDU channel, or off")] = APDU_PORT
    apdu_on: Annotated[
        tuple[AddressField, ...],
        Field(
            description="addresses of the APDU port, which lets whoever reaches it write to the card; by default loopback only"
        ),
    ] = ()
    cards: Annotated[
        tuple[CardRules, ...], Field(description="rules by card: the first entry that matches holds, else the default")
    ] = ()
    limits: Annotated[Limits, Field(description="limits")] = Limits()
    times: Annotated[Times, Field(description="times")] = Times()

    def of(self, node: int, identity: bytes) -> CardRules:
        """The rules for a card."""
        return next((entry for entry in self.cards if entry.card.matches(node, identity)), DEFAULT_RULES)


DEFAULT_RULES: Final = CardRules(card=Whose(None, None))


def load_policy(path: Path) -> Policy:
    """The policy file at ``path``. Raises FileError with every mistake, as ``file:line:column: what was found; what was expected``."""
    document = read(path, WHAT)
    mistakes: list[Mistake] = []
    policy = check(Policy, document.tree, document, mistakes)
    if policy is None:
        raise FileError(mistakes)
    if same := conflict(policy):
        place = ("apdu",) if document.at(("apdu",)) is not None else ("directory",)
        raise FileError([document.mistake(place, same, "two ports, or apdu: off")])
    return policy


def conflict(policy: Policy) -> str:
    """What two ports of the host's own have in common; empty where nothing."""
    if policy.apdu and policy.apdu == policy.directory:
        return f"port {policy.apdu} for both the directory and the APDU channel"
    return ""


# -- decisions -----------------------------------------------------------------------------------------------------------


def may_listen(rules: CardRules, port: int, udp: bool) -> tuple[str, ...]:
    """The addresses to listen on (empty: the gateway's own). Raises UplinkError (security) where no rule permits it."""
    for rule in rules.listen:
        if _protocol(rule.protocol, udp) and (port in rule.ports if port else rule.chosen == "yes"):
            return rule.on
    what = f"port {port}" if port else "a port of the host's choice"
    raise UplinkError(Cause.SECURITY, f"the policy lets the card not listen on {_kind(udp)} {what}")


def may_ask(rules: CardRules, name: str, port: int, udp: bool) -> None:
    """Whether ``name`` is worth resolving at all. Raises UplinkError where no rule could permit what comes of it."""
    rest = [rule for rule in rules.connect if _protocol(rule.protocol, udp) and port in rule.ports]
    if not any(rule.to.network is not None or rule.to.names(name) for rule in rest):
        raise UplinkError(Cause.SECURITY, f"the policy lets the card not connect to {name} {_kind(udp)} port {port}")


def may_connect(rules: CardRules, name: str, address: IpAddress, port: int, udp: bool) -> None:
    """Raises UplinkError (security) where no rule permits the address; ``name`` is what it was resolved from, or empty."""
    address = plain(address)
    own = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    for rule in rules.connect:
        if not _protocol(rule.protocol, udp) or port not in rule.ports:
            continue
        if rule.to.covers(address) or (name and not own and rule.to.names(name)):
            return
    raise UplinkError(Cause.SECURITY, f"the policy lets the card not connect to {address} {_kind(udp)} port {port}")


def plain(address: IpAddress) -> IpAddress:
    """An IPv4 address that came as IPv6 (``::ffff:127.0.0.1``) is that IPv4 address, or rules could be got round."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def ip_of(address: Address) -> IpAddress | None:
    """The address as such; None for a name or nothing."""
    if address.kind is AddressKind.IPV4:
        return ipaddress.IPv4Address(address.value)
    if address.kind is AddressKind.IPV6:
        return ipaddress.IPv6Address(address.value)
    return None


def _protocol(permitted: Protocols, udp: bool) -> bool:
    return permitted == "both" or (permitted == "udp") is udp


def _kind(udp: bool) -> str:
    return "UDP" if udp else "TCP"
