"""What is wrong with bytes that should be a packet."""


class PacketError(ValueError):
    """Not a packet of this protocol. ``offset`` is the byte that says so, where a Parameter Problem would point."""

    def __init__(self, protocol: str, offset: int, what: str) -> None:
        super().__init__(f"{protocol}, byte {offset}: {what}")
        self.protocol = protocol
        self.offset = offset
        self.what = what
