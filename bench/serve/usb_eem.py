"""The reference card as a CDC-EEM device: a network interface, by the host's own driver (the paper's prototype of Cartes 2000, in its later form)."""

from typing import Final

from bench.card.card import Card
from bench.card.data_link import CardDataLink
from bench.ccid.usb_cdc_eem import IDENTITY, EemFunction, eem_device
from bench.ccid.usb_descriptors import DeviceIdentity
from bench.engine import VirtualEngine
from bench.net.ethernet_link import OwnAddress
from bench.net.protocols import address
from bench.serve.usb_reader import ServedUsb

MAC: Final = bytes.fromhex("02 43 42 00 00 02")
"""Locally administered."""
ADDRESSES: Final = (OwnAddress(address("10.78.64.2"), 24), OwnAddress(address("fd78:40::2"), 64))
GATEWAYS: Final = (address("10.78.64.1"), address("fd78:40::1"))
"""The host, where it wants to be reached."""


class ServedEem(ServedUsb):
    """One card on one device."""

    def __init__(
        self,
        engine: VirtualEngine,
        card: Card,
        *,
        identity: DeviceIdentity = IDENTITY,
        calculated: bool = False,
        mac: bytes = MAC,
        addresses: tuple[OwnAddress, ...] = ADDRESSES,
        gateways: tuple[bytes, ...] = GATEWAYS,
    ) -> None:
        """``calculated``: frames go with a check sequence. Raises ValueError for a card without the IP stack."""
        self.function = EemFunction(speed=identity.speed, calculated=calculated)
        self.link = CardDataLink(card, mac, addresses, self.function.send, gateways=gateways)
        self.function.on_link = self.link.up
        self.function.on_frame = self.link.frame
        self.function.on_room = self.link.room
        super().__init__(engine, eem_device(self.function, identity))

    def settle(self) -> None:
        """What a transfer set going at this very moment is done at once."""
        self.slaved.engine.run(self.slaved.engine.now)
