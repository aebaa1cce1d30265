"""Applications of the reference card, each written against the four calls alone. ``STANDARD`` is what a card carries unless told otherwise."""

from bench.card.applications.counter import counter
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
