"""The least a card at vpcd can be: it gives back what it gets, with 9000. Run as a program: trivial_card.py PORT."""

import socket
import sys


def _take(card: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        card.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        more = card.recv(size - len(data))
        if not more:
            sys.exit()
        data += more
    return data


if __name__ == "__main__":
    card = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    card.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        message = _take(card, int.from_bytes(_take(card, 2), "big"))
        if len(message) == 1 and message != b"\x04":
            continue
        answer = bytes.fromhex("3B00") if message == b"\x04" else message[5:] + b"\x90\x00"
        card.sendall(len(answer).to_bytes(2, "big") + answer)
