"""Applications of the reference card, each written against the four calls alone. ``STANDARD`` is what a card carries unless told otherwise."""

from bench.card.applications.counter import counter
from bench.card.applications.datagrams import udp_discard, udp_echo, udp_source
from bench.card.applications.echo import echo
from bench.card.applications.fetch import fetch
from bench.card.applications.relay import relay
from bench.card.applications.streams import chargen, discard
from bench.card.applications.thinker import thinker
from bench.card.applications.web import web
from bench.card.profile import Application

STANDARD: tuple[tuple[str, Application], ...] = (
    ("echo", echo),
    ("discard", discard),
    ("chargen", chargen),
    ("counter", counter),
    ("thinker", thinker),
    ("relay", relay),
    ("web", web),
    ("fetch", fetch),
)

DATAGRAMS: tuple[tuple[str, Application], ...] = (
    ("udp-echo", udp_echo),
    ("udp-discard", udp_discard),
    ("udp-source", udp_source),
)
"""What a card with the IP stack carries beside."""
