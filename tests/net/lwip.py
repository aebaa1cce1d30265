"""lwIP's TCP (Debian's liblwip0) in this process and in virtual time: a stack that nobody here wrote.

Its core is driven without its thread: packets go in through ``ip_input``, its timer is called every 250 ms of whatever time the test keeps.
Each instance loads a private copy of the library, since lwIP keeps its state in globals.
"""

import ctypes
import functools
import shutil
import tempfile
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int, c_int8, c_uint8, c_uint16, c_uint32, c_void_p
from pathlib import Path

LIBRARY = "liblwip.so.0"
TICK_MS = 250
NETIF_SIZE = 512
"""More than Debian's struct netif (400)."""

# Offsets within Debian's 2.1.3+dfsg1 build on a 64-bit machine; ``_check`` sees whether they hold.
NETIF_ADDRESS, NETIF_OUTPUT, NETIF_OUTPUT6, NETIF_MTU, NETIF_FLAGS, NETIF_NAME = 8, 288, 304, 336, 347, 348
PCB_SEND_ROOM, PCB_STATE = 168, 72
PBUF_TOTAL = 16
PBUF_RAW, PBUF_RAM = 0, 640
OK, WRITE_COPY, PREFERRED, V6 = 0, 1, 0x30, 6
TIME_WAIT = 10

_INIT = CFUNCTYPE(c_int8, c_void_p)
_OUTPUT = CFUNCTYPE(c_int8, c_void_p, c_void_p, c_void_p)
_ACCEPT = CFUNCTYPE(c_int8, c_void_p, c_void_p, c_int8)
_RECV = CFUNCTYPE(c_int8, c_void_p, c_void_p, c_void_p, c_int8)
_SENT = CFUNCTYPE(c_int8, c_void_p, c_void_p, c_uint16)
_ERR = CFUNCTYPE(None, c_void_p, c_int8)


@functools.cache
def available() -> str | None:
    """Where the library is, if it is there."""
    places = [*Path("/usr/lib").glob("*-linux-*"), Path("/usr/lib"), Path("/usr/local/lib")]
    return next((str(place / LIBRARY) for place in places if (place / LIBRARY).exists()), None)


class Lwip:
    """One lwIP with one interface."""

    def __init__(self, v4: bytes, v6: bytes, mtu: int, send: Callable[[bytes], None]) -> None:
        path = available()
        if path is None:
            raise RuntimeError("liblwip0 is not installed (Debian: apt-get install liblwip0)")
        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / LIBRARY
            shutil.copy(path, copy)
            self.lib = lib = ctypes.CDLL(str(copy))
        for name in ("tcp_new_ip_type", "tcp_listen_with_backlog", "pbuf_alloc", "netif_add"):
            getattr(lib, name).restype = c_void_p
        for name in ("tcp_write", "tcp_close", "tcp_shutdown", "tcp_bind", "tcp_connect", "ip_input", "tcp_output"):
            getattr(lib, name).restype = c_int8
        self.send = send
        self.mtu = mtu
        self._output = _OUTPUT(self._on_output)
        self._init = _INIT(self._on_init)
        self._netif = ctypes.create_string_buffer(NETIF_SIZE)
        lib.lwip_init()
        one, mask, gateway = (ctypes.create_string_buffer(each, 4) for each in (v4, b"\xff\xff\xff\x00", bytes(4)))
        assert lib.netif_add(self._netif, one, mask, gateway, None, self._init, lib.ip_input)
        self._check(v4)
        lib.netif_set_default(self._netif)
        lib.netif_set_up(self._netif)
        lib.netif_set_link_up(self._netif)
        six = ctypes.create_string_buffer(v6, 20)
        lib.netif_ip6_addr_set(self._netif, c_int8(0), six)
        lib.netif_ip6_addr_set_state(self._netif, c_int8(0), c_uint8(PREFERRED))
        self._kept: list[object] = []

    def _check(self, v4: bytes) -> None:
        data = self._netif.raw
        if data[NETIF_ADDRESS : NETIF_ADDRESS + 4] != v4 or data[NETIF_NAME : NETIF_NAME + 2] != b"cb":
            raise RuntimeError("this build of lwIP lays its struct netif out in another way than Debian's 2.1.3")

    def _on_init(self, netif: int) -> int:
        output = ctypes.cast(self._output, c_void_p).value
        for offset in (NETIF_OUTPUT, NETIF_OUTPUT6):
            c_void_p.from_address(netif + offset).value = output
        c_uint16.from_address(netif + NETIF_MTU).value = self.mtu
        ctypes.memmove(netif + NETIF_NAME, b"cb", 2)
        return OK

    def _on_output(self, _netif: int, pbuf: int, _to: int) -> int:
        size = c_uint16.from_address(pbuf + PBUF_TOTAL).value
        data = ctypes.create_string_buffer(size)
        self.lib.pbuf_copy_partial(c_void_p(pbuf), data, c_uint16(size), c_uint16(0))
        self.send(data.raw)
        return OK

    def receive(self, data: bytes) -> None:
        """A packet from the link."""
        pbuf = self.lib.pbuf_alloc(c_int(PBUF_RAW), c_uint16(len(data)), c_int(PBUF_RAM))
        assert pbuf, "lwIP has no memory"
        self.lib.pbuf_take(c_void_p(pbuf), data, c_uint16(len(data)))
        if self.lib.ip_input(c_void_p(pbuf), self._netif) != OK:
            self.lib.pbuf_free(c_void_p(pbuf))

    def tick(self) -> None:
        """250 ms have gone by."""
        self.lib.tcp_tmr()

    def listen(self, port: int, user: "LwipUser", *, v6: bool) -> None:
        """Take one connection on a port for ``user``."""
        pcb = self._new(v6, port)
        pcb = self.lib.tcp_listen_with_backlog(c_void_p(pcb), c_uint8(4))
        accept = _ACCEPT(lambda _arg, new, _error: user.opened(self, new))
        self._kept.append(accept)
        self.lib.tcp_accept(c_void_p(pcb), accept)

    def connect(self, remote: bytes, port: int, user: "LwipUser", *, local_port: int = 50_000) -> None:
        """Open a connection for ``user``."""
        v6 = len(remote) == 16
        pcb = self._new(v6, local_port)
        connected = _ACCEPT(lambda _arg, new, _error: user.opened(self, new))
        self._kept.append(connected)
        user.watch(self, pcb)
        assert self.lib.tcp_connect(c_void_p(pcb), _address(remote), c_uint16(port), connected) == OK

    def _new(self, v6: bool, port: int) -> int:
        pcb: int = self.lib.tcp_new_ip_type(c_uint8(V6 if v6 else 0))
        assert self.lib.tcp_bind(c_void_p(pcb), _address(bytes(16 if v6 else 4)), c_uint16(port)) == OK
        return pcb


class LwipUser:
    """A program over lwIP: sends ``todo``, keeps what comes, ends its direction and then the connection."""

    def __init__(self, todo: bytes = b"", *, finish: bool = False, keep: bool = True) -> None:
        self.todo = todo
        self.sent = 0
        self.finish = finish
        """End our direction when everything is sent; otherwise when the peer has ended its own."""
        self.keep = keep
        self.got = bytearray()
        self.count = 0
        self.ended = False
        self.error: int | None = None
        self.closed = False
        self._stack: Lwip | None = None
        self._pcb: int | None = None
        self._shut = False
        self._callbacks = (_RECV(self._received), _SENT(self._room), _ERR(self._failed))

    def watch(self, stack: Lwip, pcb: int) -> None:
        self._stack, self._pcb = stack, pcb
        received, sent, failed = self._callbacks
        stack.lib.tcp_recv(c_void_p(pcb), received)
        stack.lib.tcp_sent(c_void_p(pcb), sent)
        stack.lib.tcp_err(c_void_p(pcb), failed)

    def opened(self, stack: Lwip, pcb: int) -> int:
        self.watch(stack, pcb)
        self.write()
        return OK

    def write(self) -> None:
        """Give lwIP what it has room for."""
        assert self._stack is not None
        lib, pcb = self._stack.lib, self._pcb
        if pcb is None or self._shut:
            return
        while self.sent < len(self.todo):
            room = c_uint32.from_address(pcb + PCB_SEND_ROOM).value
            piece = self.todo[self.sent : self.sent + min(room, 8192)]
            if not piece or lib.tcp_write(c_void_p(pcb), piece, c_uint16(len(piece)), c_uint8(WRITE_COPY)) != OK:
                break
            self.sent += len(piece)
        if self.sent == len(self.todo) and (self.finish or self.ended):
            self._end()
        if self._pcb is not None:
            lib.tcp_output(c_void_p(pcb))

    def _end(self) -> None:
        """FIN; the connection itself goes when the peer's has come, too. lwIP may be short of memory: then later."""
        assert self._stack is not None
        lib, pcb = self._stack.lib, c_void_p(self._pcb)
        if not self.ended:
            self._shut = lib.tcp_shutdown(pcb, c_int(0), c_int(1)) == OK
        elif lib.tcp_close(pcb) == OK:
            self._shut = self.closed = True
            self._pcb = None

    def _received(self, _arg: int, pcb: int, pbuf: int | None, _error: int) -> int:
        assert self._stack is not None
        lib = self._stack.lib
        if not pbuf:
            self.ended = True
            if self._shut:
                self.closed = lib.tcp_close(c_void_p(pcb)) == OK
                self._pcb = None
            else:
                self.write()
            return OK
        size = c_uint16.from_address(pbuf + PBUF_TOTAL).value
        self.count += size
        if self.keep:
            data = ctypes.create_string_buffer(size)
            lib.pbuf_copy_partial(c_void_p(pbuf), data, c_uint16(size), c_uint16(0))
            self.got += data.raw
        lib.tcp_recved(c_void_p(pcb), c_uint16(size))
        lib.pbuf_free(c_void_p(pbuf))
        return OK

    def _room(self, _arg: int, _pcb: int, _count: int) -> int:
        self.write()
        return OK

    def _failed(self, _arg: int, error: int) -> None:
        self.error, self._pcb = error, None


def _address(packed: bytes) -> ctypes.Array[ctypes.c_char]:
    """An ip_addr_t: 16 bytes, a zone, and the type."""
    kind = V6 if len(packed) == 16 else 0
    return ctypes.create_string_buffer(packed.ljust(20, b"\x00") + bytes((kind,)) + bytes(3), 24)
