"""The block of T=1 (ISO/IEC 7816-3:2006, 11.3): prologue NAD PCB LEN, information field, epilogue EDC.

`decode_block` reads what has come off the line, `encode_block` makes what goes on it. Blocks are values; whether one may
be sent in this place is the business of the machines (`t1_terminal`, `t1_card`).

The CRC of 11.4.4 is that of ISO/IEC 13239, which implementations read differently: libccid (and the cards that work
with it) sends it uncomplemented with the high byte first, a strict reading complements it and sends the low byte first.
So the two choices are a parameter, `EdcScheme`.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from bench.iso7816.atr_values import Edc
from bench.iso7816.errors import Iso7816Error

PROLOGUE: Final = 3
INF_MAX: Final = 254
"""The longest information field; LEN = FF is reserved (11.3.2.3)."""
IFS_DEFAULT: Final = 32
"""IFSC where the ATR does not say otherwise, and IFSD until S(IFS request) says otherwise (11.4.2)."""

_NAD_RESERVED: Final = 0x88
"""b4 and b8, once the control of VPP."""
_N_S: Final = 0x40
_MORE: Final = 0x20
_N_R: Final = 0x10
_R_BLOCK: Final = 0x80
_S_BLOCK: Final = 0xC0
_S_RESPONSE: Final = 0x20

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class BlockRule(Enum):
    """The rules of a block on its own: what each asks for, and its clause."""

    TOO_SHORT = ("a block has at least NAD, PCB, LEN and EDC", "11.3.1")
    TRUNCATED = ("as many characters as LEN announces follow within the character waiting time", "11.4.3")
    TOO_LONG = ("no characters follow EDC", "11.3.1")
    GAP = ("characters of a block are no further apart than the character waiting time", "11.4.3")
    PARITY = ("every character has even parity", "11.5")
    EDC = ("EDC is that of NAD to INF", "11.3.4")
    NAD_FF = ("NAD is not FF", "11.3.2.1")
    NAD_RESERVED = ("b4 and b8 of NAD are 0", "11.3.2.1")
    NAD_SAME = ("SAD and DAD differ unless both are 0", "11.3.2.1")
    NAD_OTHER = ("a block of a logical connection has its SAD and DAD", "11.3.2.1")
    PCB = ("PCB is one that the standard assigns", "11.3.2.2")
    LEN_FF = ("LEN is not FF", "11.3.2.3")
    LEN_IFS = ("LEN is not above the receiver's IFS", "11.4.2")
    LEN_KIND = ("R-blocks, S(RESYNCH) and S(ABORT) have no INF, S(IFS) and S(WTX) have one byte", "11.3.2.3")
    IFS_VALUE = ("IFS is 01 to FE", "11.4.2")
    WTX_VALUE = ("the multiplier of BWT is 01 to FF", "11.6.2, rule 3")

    @property
    def text(self) -> str:
        """What is asked for."""
        return self.value[0]

    @property
    def clause(self) -> str:
        """Clause of ISO/IEC 7816-3:2006."""
        return self.value[1]


class BlockError(Iso7816Error):
    """Characters that are no valid block: which `rule` they break, at which character (`position`, from 1)."""

    def __init__(self, rule: BlockRule, position: int, found: str) -> None:
        super().__init__(f"character {position}: {found}; {rule.text} (ISO/IEC 7816-3, {rule.clause})")
        self.rule = rule
        self.position = position
        self.found = found

    @property
    def code(self) -> RCode:
        """What an R-block would say about it."""
        return RCode.CHECK if self.rule in (BlockRule.EDC, BlockRule.PARITY) else RCode.OTHER


class RCode(IntEnum):
    """b4 to b1 of an R-block's PCB (11.3.2.2)."""

    NONE = 0
    CHECK = 1
    """EDC or parity."""
    OTHER = 2


class Supervisory(IntEnum):
    """b5 to b1 of an S-block's PCB (11.3.2.2)."""

    RESYNCH = 0
    IFS = 1
    ABORT = 2
    WTX = 3


# --- error detection code --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EdcScheme:
    """How EDC is worked out: LRC, or CRC with its two open choices."""

    kind: Edc
    complement: bool = False
    low_first: bool = False

    @property
    def size(self) -> int:
        """Bytes of the epilogue: 1 or 2 (11.3.4)."""
        return 1 if self.kind is Edc.LRC else 2

    def compute(self, data: bytes) -> bytes:
        """EDC of NAD to INF."""
        if self.kind is Edc.LRC:
            return bytes((lrc(data),))
        # A reflected CRC is the plain one of bit-reversed bytes, itself reversed: the reversed bytes swap places.
        crc = crc_hqx(data.translate(_REVERSED), 0xFFFF)
        high, low = _REVERSED[crc & 0xFF], _REVERSED[crc >> 8]
        if self.complement:
            high, low = high ^ 0xFF, low ^ 0xFF
        return bytes((low, high)) if self.low_first else bytes((high, low))

    def sound(self, block: bytes, end: int) -> bool:
        """Whether what follows on INF, which ends before ``end``, is the EDC of what is before."""
        if self.kind is Edc.LRC:
            return lrc(block) == 0
        return self.compute(block[:end]) == block[end:]


def lrc(data: bytes) -> int:
    """XOR of all bytes (11.4.4), for at most 512 of them; folds one long integer, ten times as fast as a loop."""
    folded = int.from_bytes(data, "little")
    for shift in _FOLDS if len(data) > _FEW else _FOLDS_OF_FEW:
        folded ^= folded >> shift
    return folded & 0xFF


_FEW: Final = 16
_FOLDS: Final = (2048, 1024, 512, 256, 128, 64, 32, 16, 8)
_FOLDS_OF_FEW: Final = _FOLDS[-4:]


LRC: Final = EdcScheme(Edc.LRC)
CRC_LIBCCID: Final = EdcScheme(Edc.CRC)
CRC_ISO_13239: Final = EdcScheme(Edc.CRC, complement=True, low_first=True)


def edc_scheme(edc: Edc) -> EdcScheme:
    """The scheme for what an ATR says, the CRC as libccid reads it."""
    return LRC if edc is Edc.LRC else CRC_LIBCCID


# --- blocks ----------------------------------------------------------------------------------------------------------


def swap_nad(nad: int) -> int:
    """NAD of the other direction: SAD and DAD change places."""
    return (nad << 4 | nad >> 4) & 0xFF


def nad_of(sad: int, dad: int) -> int:
    """NAD from source and destination, 0 to 7 each; raises BlockError where 11.3.2.1 forbids the pair."""
    nad = dad << 4 | sad
    if not 0 <= sad <= 7 or not 0 <= dad <= 7:
        raise BlockError(BlockRule.NAD_RESERVED, 1, f"SAD {sad}, DAD {dad}: each is 0 to 7")
    if (error := check_nad(nad)) is not None:
        raise error
    return nad


def check_nad(nad: int) -> BlockError | None:
    """What is wrong with a NAD on its own (11.3.2.1)."""
    if nad == 0:
        return None
    if nad == 0xFF:
        return BlockError(BlockRule.NAD_FF, 1, "NAD = FF")
    if nad & _NAD_RESERVED:
        return BlockError(BlockRule.NAD_RESERVED, 1, f"NAD = {nad:02X}")
    if nad >> 4 == nad & 0xF:
        return BlockError(BlockRule.NAD_SAME, 1, f"NAD = {nad:02X}")
    return None


@dataclass(frozen=True, slots=True)
class IBlock:
    """I(N(S), M): application data. `ns` is 0 or 1, `inf` at most 254 bytes."""

    nad: int
    ns: int
    more: bool
    inf: bytes

    @property
    def pcb(self) -> int:
        return (_N_S if self.ns else 0) | (_MORE if self.more else 0)

    def __str__(self) -> str:
        return f"I({self.ns},{int(self.more)})"


@dataclass(frozen=True, slots=True)
class RBlock:
    """R(N(R)): acknowledgement, or what went wrong."""

    nad: int
    nr: int
    code: RCode = RCode.NONE

    inf = b""

    @property
    def pcb(self) -> int:
        return _R_BLOCK | (_N_R if self.nr else 0) | self.code

    def __str__(self) -> str:
        return f"R({self.nr})"


@dataclass(frozen=True, slots=True)
class SBlock:
    """S(… request) or S(… response). `value` is IFS or the multiplier of BWT; 0 where there is none."""

    nad: int
    function: Supervisory
    response: bool = False
    value: int = 0

    @property
    def pcb(self) -> int:
        return _S_BLOCK | (_S_RESPONSE if self.response else 0) | self.function

    @property
    def inf(self) -> bytes:
        return bytes((self.value,)) if self.function in (Supervisory.IFS, Supervisory.WTX) else b""

    def __str__(self) -> str:
        return f"S({self.function.name} {'response' if self.response else 'request'})"


Block = IBlock | RBlock | SBlock


def encode_block(block: Block, edc: EdcScheme) -> bytes:
    """The characters of a block. Raises BlockError for one that no receiver may accept (INF too long, NAD, values)."""
    inf = block.inf
    if len(inf) > INF_MAX:
        raise BlockError(BlockRule.LEN_FF, 3, f"INF of {len(inf)} bytes, {INF_MAX} fit")
    if block.nad and (error := check_nad(block.nad)) is not None:
        raise error
    if isinstance(block, SBlock) and (error := _check_value(block)) is not None:
        raise error
    data = bytes((block.nad, block.pcb, len(inf))) + inf
    return data + edc.compute(data)


def block_length(data: bytes | bytearray, edc: EdcScheme) -> int | None:
    """How many characters the block that begins so has; None until LEN is there, or where LEN cannot be (FF)."""
    if len(data) < PROLOGUE or data[2] > INF_MAX:
        return None
    return PROLOGUE + data[2] + edc.size


def decode_block(data: bytes, edc: EdcScheme, ifs: int = INF_MAX, damaged: Collection[int] = ()) -> Block:
    """Read a block.

    `ifs` is the longest information field this receiver takes, `damaged` the indices (from 0) of characters with wrong
    parity. Raises BlockError for the first rule that is broken: parity and EDC first, since nothing else can be
    trusted then.
    """
    if len(data) < PROLOGUE + edc.size:
        raise BlockError(BlockRule.TOO_SHORT, len(data) + 1, f"{len(data)} characters")
    if damaged:
        raise BlockError(BlockRule.PARITY, min(damaged) + 1, f"wrong parity of {len(damaged)} characters")
    nad, pcb, length = data[0], data[1], data[2]
    if length > INF_MAX:
        raise BlockError(BlockRule.LEN_FF, 3, "LEN = FF")
    end = PROLOGUE + length
    if len(data) != end + edc.size:
        rule = BlockRule.TRUNCATED if len(data) < end + edc.size else BlockRule.TOO_LONG
        raise BlockError(rule, len(data), f"{len(data)} characters where LEN = {length:02X}")
    if not edc.sound(data, end):
        raise BlockError(BlockRule.EDC, end + 1, f"EDC {data[end:].hex(' ').upper()}")
    if nad and (error := check_nad(nad)) is not None:
        raise error
    if length > ifs:
        raise BlockError(BlockRule.LEN_IFS, 3, f"LEN = {length:02X} where IFS = {ifs:02X}")
    if not pcb & 0x80:
        if pcb & 0x1F:
            raise BlockError(BlockRule.PCB, 2, f"PCB = {pcb:02X} of an I-block has reserved bits")
        return IBlock(nad, pcb >> 6, pcb & _MORE != 0, data[PROLOGUE:end])
    return _decode_control(nad, pcb, data[PROLOGUE:end])


def _decode_control(nad: int, pcb: int, inf: bytes) -> Block:
    if pcb & 0x40 == 0:
        if pcb & 0x20 or pcb & 0xF > RCode.OTHER:
            raise BlockError(BlockRule.PCB, 2, f"PCB = {pcb:02X} of an R-block has reserved bits")
        if inf:
            raise BlockError(BlockRule.LEN_KIND, 3, f"LEN = {len(inf):02X} of an R-block")
        return RBlock(nad, 1 if pcb & _N_R else 0, RCode(pcb & 0xF))
    if pcb & 0x1F > Supervisory.WTX:
        raise BlockError(BlockRule.PCB, 2, f"PCB = {pcb:02X} is no S-block of the standard")
    function = Supervisory(pcb & 0x1F)
    wanted = 1 if function in (Supervisory.IFS, Supervisory.WTX) else 0
    if len(inf) != wanted:
        raise BlockError(BlockRule.LEN_KIND, 3, f"LEN = {len(inf):02X} of S({function.name})")
    block = SBlock(nad, function, pcb & _S_RESPONSE != 0, inf[0] if inf else 0)
    if (error := _check_value(block)) is not None:
        raise error
    return block


def _check_value(block: SBlock) -> BlockError | None:
    if block.function is Supervisory.IFS and not 1 <= block.value <= INF_MAX:
        return BlockError(BlockRule.IFS_VALUE, 4, f"IFS = {block.value:02X}")
    if block.function is Supervisory.WTX and not 1 <= block.value <= 0xFF:
        return BlockError(BlockRule.WTX_VALUE, 4, f"WTX = {block.value:02X}")
    return None


# --- what a disturbance does ------------------------------------------------------------------------------------------


class Damage(Enum):
    """What the codes of T=1 can do about a disturbance of one block."""

    NONE = "none"
    """It arrived as it was sent."""
    SEEN = "seen"
    """Parity, LEN or EDC tell: the block is repeated (correctable), or the exchange ends in a named error (detectable)."""
    UNSEEN = "unseen"
    """Another valid block arrived: undetectable, to be counted among the residual errors."""


def damage(sent: bytes, heard: bytes, edc: EdcScheme, damaged: Collection[int] = ()) -> Damage:
    """Class what arrived (`damaged`: indices of characters with wrong parity) where `sent` was sent."""
    if heard == sent and not damaged:
        return Damage.NONE
    try:
        decode_block(heard, edc, INF_MAX, damaged)
    except BlockError:
        return Damage.SEEN
    return Damage.UNSEEN
