"""How patient TCP must be on lines this slow.

The first acknowledgement comes, with delayed ACK, after two frames, the ACK itself and a poll on every hop. A minimum RTO below that sends every
frame twice (the floor of RFC 6298 is a second, which 9600 baud passes with one long packet).

Units: times are ticks of the engine's timebase, lengths are bytes.
"""

from typing import Final

from bench.hop.segment import MAX_PAYLOAD
from bench.iso7816.rates import GUARD_ETU

ACK: Final = 60
"""An IPv6 header and a TCP header: the longer of the two versions."""
_AROUND: Final = 25
"""Characters' worth of time around a segment: header, length, procedure byte, status word, and the turns of an ENVELOPE."""


def packet_ticks(length: int, etu: int) -> int:
    """What a packet of this length takes on one hop over T=0, at the least; T=1 takes about as long."""
    segments = max(1, -(-length // MAX_PAYLOAD))
    return (length + segments * _AROUND) * GUARD_ETU * etu


def window_ticks(window: int, etu: int) -> int:
    """The round trip that a full window makes by itself on the slowest hop, answers of the same size sharing the line.

    A window that outgrows the line stands in its queue: while slow start doubles it, the round trip doubles, too, and the estimate of RFC 6298 lags.
    """
    return 2 * packet_ticks(window, etu)


def delayed_ack(hz: int, mtu: int, etu: int) -> int:
    """How long an acknowledgement waits for the second segment: as long as that takes on the line, an acknowledgement between the two.

    At least 200 ms and less than half a second (RFC 9293, MUST-40), which one long segment exceeds at 9600 baud: each is acknowledged then.
    """
    return min(max(hz // 5, 2 * packet_ticks(mtu, etu) + packet_ticks(ACK, etu)), hz * 9 // 20)


def rto_floor(hz: int, hops: int, mtu: int, etu: int, longest_poll: int, beyond: int = 0) -> int:
    """The minimum RTO over so many equal hops; ``beyond`` is the round trip of what lies behind them (an uplink)."""
    hop = 2 * packet_ticks(mtu, etu) + packet_ticks(ACK, etu) + longest_poll
    return max(hz, hops * hop + beyond + hz // 2)
