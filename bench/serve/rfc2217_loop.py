"""The served card as a serial port over TCP (RFC 2217): RTS is its reset, DTR its supply, CTS, DSR and CD tell whether it is there."""

import contextlib
import selectors
import socket
from dataclasses import replace
from typing import Final

from bench.serve.loop import acknowledge_at_once, gone, received, sent
from bench.serve.rfc2217 import PRESENT, Data, Event, Lines, ModemState, Purge, Rfc2217Server, Settings
from bench.serve.uart import ServedUart
from bench.serve.uart_loop import UNREAD_MOST, UartLoop

IN_USE: Final = b"Port already in use\r\n"
TURNED_AWAY_MOST: Final = 8


class Rfc2217Loop(UartLoop):
    """Serves one card to one client after the other; who comes while one is there is sent away."""

    def __init__(
        self,
        served: ServedUart,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        reset_on: bool = True,
        reset: str = "rts",
        supply: bool = True,
    ) -> None:
        """Listen at ``host``:``port`` (0: any that is free; ``address`` tells). ``reset``: rts or dtr; ``reset_on``: RST is low while that line is
        on; ``supply``: the other of the two lines switches the card's supply, which is always there otherwise. Raises OSError.
        """
        super().__init__(served)
        self.reset_on = reset_on
        self.reset = reset
        self.supply = supply
        self._listening = socket.create_server((host, port))
        self._listening.setblocking(False)
        name = self._listening.getsockname()
        self.port = int(name[1])
        self.address = f"rfc2217://{name[0]}:{self.port}"
        self._connection: socket.socket | None = None
        self._server = Rfc2217Server()
        self._unsent = bytearray()
        self._turned_away: list[socket.socket] = []
        """Clients that were told that the port is in use, and have not left."""
        self._selector.register(self._listening, selectors.EVENT_READ, self._arrived)

    @property
    def taken(self) -> bool:
        """Whether a client is there."""
        return self._connection is not None

    def close(self) -> None:
        self._hang_up()
        for connection in self._turned_away:
            connection.close()
        self._turned_away.clear()
        self._listening.close()
        super().close()

    # -- the connection --------------------------------------------------------------------------------------------------------

    def _arrived(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        if self._connection is not None and gone(self._connection):
            self._hang_up()  # who comes as another goes is let in
        if self._connection is not None:
            self._turn_away(connection)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._selector.register(connection, selectors.EVENT_READ, self._readable)
        self._server = Rfc2217Server()
        self.served.settings = (
            self._server.settings
        )  # a client that comes finds the port as new, whatever one before it has set
        self._unsent.clear()
        self._moved()
        self._apply()

    def _turn_away(self, connection: socket.socket) -> None:
        """Say why, as ser2net does, and wait for the client to leave: a connection closed with bytes unread is reset, and takes the words along."""
        if len(self._turned_away) == TURNED_AWAY_MOST:
            self._leave(self._turned_away[0])
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(IN_USE)
            connection.shutdown(socket.SHUT_WR)
        self._turned_away.append(connection)

        def readable() -> None:
            if received(connection) == b"":
                self._leave(connection)

        self._selector.register(connection, selectors.EVENT_READ, readable)

    def _leave(self, connection: socket.socket) -> None:
        self._turned_away.remove(connection)
        self._selector.unregister(connection)
        connection.close()

    def _readable(self) -> None:
        connection = self._connection
        if connection is None:
            return
        acknowledge_at_once(connection)
        data = received(connection)
        if data is None:
            return
        if not data:
            self._hang_up()
            return
        for event in self._server.feed(data):
            self._do(event)

    def _hang_up(self) -> None:
        """The client has gone: the lines fall, the card is without power."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._selector.unregister(connection)
            connection.close()
        self.served.off()

    # -- what it wants ---------------------------------------------------------------------------------------------------------

    def _do(self, event: Event) -> None:
        served = self.served
        match event:
            case Data(data):
                served.received(data)
                self.on_asked()
            case Settings(settings):
                served.settings = settings
            case Lines():
                self._apply()
                self.on_asked()
            case Purge(receive, _):
                if receive:
                    served.follow()
                    served.due()
                    self._unsent.clear()

    def _apply(self) -> None:
        server = self._server
        reset, supply = (server.rts, server.dtr) if self.reset == "rts" else (server.dtr, server.rts)
        self.served.lines(power=supply or not self.supply, rst=reset != self.reset_on)

    def _moved(self) -> None:
        self._server.modem_state(PRESENT if self.served.present else ModemState(0))

    def _replaced(self) -> None:
        if self._connection is not None:
            self.served.settings = replace(self._server.settings)
            self._moved()
            self._apply()

    def _give(self) -> None:
        server = self._server
        connection = self._connection
        if connection is None:
            self.served.due()
            return
        self._unsent += server.reply
        server.reply.clear()
        if not server.suspended:
            for data, _ in self.served.due():
                if len(self._unsent) < UNREAD_MOST:
                    self._unsent += server.data(data)
        if self._unsent:
            try:
                del self._unsent[: sent(connection, self._unsent)]
            except OSError:
                self._hang_up()
                return
            self._await_room(connection, self._readable, room=bool(self._unsent))
