"""The guest's side of tests/witness/test_usb_guest.py: pyscard against the guest's pcscd, kept running, since importing takes seconds there.

A task comes as a line of words; what it saw goes out as a line of JSON, and before that perhaps how far it has come, as plain words.
"""

import json
import sys
import time

from smartcard.CardConnection import CardConnection
from smartcard.Exceptions import SmartcardException
from smartcard.System import readers

ECHO = bytes.fromhex("A0EC0000")
WITHIN_S = 60
PROTOCOLS = {"T=0": CardConnection.T0_protocol, "T=1": CardConnection.T1_protocol}


def until(condition, what):
    limit = time.monotonic() + WITHIN_S
    while not (found := condition()):
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.05)
    return found


def say(words):
    print(words, flush=True)


def connect(protocol):
    """To the first reader, once there is one and a card in it."""
    last = []

    def attempt():
        try:
            found = readers()
            connection = found[0].createConnection() if found else None
            if connection is not None:
                connection.connect(PROTOCOLS[protocol])
            return connection
        except SmartcardException as error:
            last[:] = [str(error)]
            return None

    try:
        return until(attempt, "no card came")
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {last}") from None


def transmit(connection, command):
    """As an application that speaks T=0 does: what waits is fetched, a wrong Le is corrected."""
    data, first, second = connection.transmit(list(command))
    answer = bytes(data)
    if first == 0x6C:
        data, first, second = connection.transmit([*command[:4], second])
        answer = bytes(data)
    while first == 0x61:
        data, first, second = connection.transmit([0x00, 0xC0, 0x00, 0x00, second])
        answer += bytes(data)
    return answer, first << 8 | second


def echo(connection, sizes, extended=False):
    """What did not come back as it was sent."""
    wrong = []
    for size in sizes:
        data = bytes((7 * index + size) & 0xFF for index in range(size))
        if extended:
            command = ECHO + b"\x00" + size.to_bytes(2, "big") + data + b"\x00\x00"
        else:
            command = ECHO + bytes((size,)) + data + b"\x00"
        answer, status = transmit(connection, command)
        if answer != data or status != 0x9000:
            wrong.append([size, len(answer), f"{status:04X}"])
    return wrong


def exchanges(protocol, sizes, extended=False):
    connection = connect(protocol)
    seen = {"reader": str(connection.getReader()), "atr": bytes(connection.getATR()).hex()}
    seen["protocol"] = {value: name for name, value in PROTOCOLS.items()}[connection.getProtocol()]
    began = time.monotonic()
    seen["wrong"] = echo(connection, sizes, extended)
    seen["exchanges"], seen["longest"] = len(sizes), max(sizes)
    seen["a_second"] = round(len(sizes) / (time.monotonic() - began))
    connection.disconnect()
    return seen


def movements(protocol):
    connection = connect(protocol)
    wrong = echo(connection, [10])
    say("present")

    def gone():
        try:
            connection.transmit([*ECHO, 1, 1])
        except SmartcardException:
            return True
        return False

    until(gone, "the card did not go")
    say("absent")
    connection = connect(protocol)
    say("again")
    try:
        wrong += echo(connection, [10, 100])
    except (
        SmartcardException
    ) as error:  # pcscd may power a card that has just come once more: applications connect again
        if "reset" not in str(error):
            raise
        connection = connect(protocol)
        wrong += echo(connection, [10, 100])
    connection.disconnect()
    return {"wrong": wrong}


def hotplug(times):
    names = []
    until(lambda: not readers(), "a reader is there already")
    say("none")
    for _ in range(int(times)):
        found = until(readers, "no reader came")
        names.append(str(found[0]))
        say("came")
        until(lambda: not readers(), "the reader did not go")
        say("went")
    return {"readers": names}


def empty():
    """Whether pcscd has let go of every reader there was."""
    limit = time.monotonic() + WITHIN_S / 2
    while (left := [str(each) for each in readers()]) and time.monotonic() < limit:
        time.sleep(0.05)
    return {"left": left}


def slots(count):
    """A reader of several slots, each a reader to PC/SC, a card in the first."""
    names = [str(each) for each in until(lambda: len(readers()) == int(count) and readers(), "not so many readers")]
    return {"readers": names, "wrong": echo(connect("T=0"), [10, 255])}


TASKS = {
    "slots": slots,
    "echo": lambda protocol: exchanges(protocol, [*range(1, 256, 8), 253, 254, 255]),
    "extended": lambda protocol: exchanges(protocol, (256, 1000, 65_535), extended=True),
    "movements": movements,
    "hotplug": hotplug,
    "empty": empty,
}

if __name__ == "__main__":
    say("ready")
    for line in sys.stdin:
        task, *words = line.split()
        try:
            seen = TASKS[task](*words)
        except Exception as error:
            seen = {"error": f"{type(error).__name__}: {error}"}
        say(json.dumps(seen))
