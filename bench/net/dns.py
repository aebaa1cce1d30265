"""DNS messages for names of cards (RFC 1035, 2136, 3596), by dnspython: the one module that knows of it.

Units: a TTL is in seconds.
"""

from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

PORT: Final = 53
UDP_MAX: Final = 512
"""Without EDNS no longer answer may be sent over UDP (RFC 1035, 4.2.1)."""


class DnsError(Exception):
    """Bytes that are no DNS message of the kind expected."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a query asks."""

    identifier: int
    name: str
    """In lower case, with the final dot."""
    version: int
    """4 for A, 6 for AAAA, 0 for anything else."""


@dataclass(frozen=True, slots=True)
class Zone:
    """Of whom an authoritative answer speaks."""

    origin: str
    """With the final dot."""
    serial: int
    ttl: int


def query(identifier: int, name: str, version: int) -> bytes:
    """A query for one address of a name. Raises DnsError for what cannot be a name."""
    try:
        message = dns.message.make_query(dns.name.from_text(name), "A" if version == 4 else "AAAA", id=identifier)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise DnsError(f"{name!r}: {error}") from None
    message.flags = dns.flags.Flag(0)
    return message.to_wire()


def read_query(data: bytes) -> tuple[Question, bytes]:
    """The question in a query, and the query for ``answer``. Raises DnsError, also for an answer: nobody must answer those."""
    message = _message(data)
    if message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
        raise DnsError("no query with one question")
    asked = message.question[0]
    version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(asked.rdtype, 0)
    if asked.rdclass != dns.rdataclass.IN:
        version = 0
    return Question(message.id, asked.name.to_text().lower(), version), data


def answer(data: bytes, zone: Zone, addresses: tuple[str, ...] | None) -> bytes:
    """The authoritative answer to a query: addresses, none of this version (empty), no such name (None). Names outside the zone are refused."""
    request = _message(data)
    asked = request.question[0]
    origin = dns.name.from_text(zone.origin)
    response = dns.message.make_response(request)
    if not asked.name.is_subdomain(origin):
        response.set_rcode(dns.rcode.REFUSED)
        return response.to_wire(max_size=UDP_MAX)
    response.flags |= dns.flags.AA
    if addresses:
        response.answer.append(dns.rrset.from_text(asked.name, zone.ttl, "IN", asked.rdtype, *addresses))
    else:
        if addresses is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        # The negative answer's own TTL is the SOA's minimum (RFC 2308, 3)
        soa = f"ns.{zone.origin} cards.{zone.origin} {zone.serial} 60 60 3600 {zone.ttl}"
        response.authority.append(dns.rrset.from_text(origin, zone.ttl, "IN", "SOA", soa))
    return response.to_wire(max_size=UDP_MAX)


def read_answer(data: bytes, identifier: int, name: str) -> tuple[str, ...] | None:
    """The addresses in an answer to our query; None where there is no such name or none of that kind. Raises DnsError for anything else."""
    message = _message(data)
    wanted = dns.name.from_text(name)
    if not message.flags & dns.flags.QR or message.id != identifier:
        raise DnsError("not the answer to this query")
    if len(message.question) != 1 or message.question[0].name != wanted:
        raise DnsError("the answer to another question")
    if message.rcode() == dns.rcode.NXDOMAIN:
        return None
    if message.rcode() != dns.rcode.NOERROR:
        raise DnsError(f"the name server says {dns.rcode.to_text(message.rcode())}")
    found = [
        item.to_text()
        for each in message.answer
        if each.name == wanted and each.rdtype == message.question[0].rdtype
        for item in each
    ]
    return tuple(found) or None


def ttl_of(data: bytes) -> int:
    """The shortest TTL in an answer."""
    message = _message(data)
    return min((each.ttl for section in (message.answer, message.authority) for each in section), default=0)


def _message(data: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(f"{type(error).__name__}: {error}") from None
