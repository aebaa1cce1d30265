"""A served USB reader for tests of its carriers: a reference card in it, no time held back."""

from bench.ccid.messages import Command, Response, decode_response
from bench.rig.orders import InnerPolls, ServeOrder
from bench.rig.served_chain import serve_chain
from bench.serve.usb_reader import DEFAULT_CLOCK_HZ, ServedUsbReader


def served_reader(form: str = "tpdu", *, paced: bool = False, **given: str) -> ServedUsbReader:
    """``given`` as in a scenario."""
    values = {"cards": "1", "clock_hz": str(DEFAULT_CLOCK_HZ), **given}
    chain = serve_chain(ServeOrder(values, InnerPolls(), paced))
    return ServedUsbReader(chain.engine, [chain.end], form=form, clocks_hz=(chain.given.clock_hz,), paced=paced)


def answer_of(data: bytes, command: Command) -> Response:
    """The response, which must be to that command."""
    response = decode_response(data)
    assert (response.slot, response.seq) == (command.slot, command.seq)
    return response
