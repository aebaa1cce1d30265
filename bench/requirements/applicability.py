"""When a requirement applies to a card: an expression over what the card's declaration says.

    expression  = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation    = "not" negation | "(" expression ")" | term
    term        = NAME [VALUE | (">=" | "<=" | ">" | "<" | "=") NUMBER]

``protocol T=1 and channels >= 4 and not deviation small-mru``. A name alone asks for anything at all under it: ``class``, ``chaining``. Names and
values are checked when the expression is read. What a declaration leaves out is unknown, neither there nor absent (Kleene): a requirement applies
only where its expression is surely true, and whoever reads a certificate is told the first part that is not.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from bench.files.mistakes import quoted
from bench.files.models import expected, one_of, suggestion
from bench.rig.declaration import Declaration

if TYPE_CHECKING:
    from bench.requirements.catalogue import Requirement

Value = tuple[str, ...] | int | bool | None
"""Of a capability: a set of words, a number, a truth; None where nothing is declared."""


class Kind(Enum):
    """What a term may say of a capability."""

    WORDS = "a value"
    NUMBER = "a comparison such as '>= 4'"
    TRUTH = "nothing more"


@dataclass(frozen=True, slots=True)
class Capability:
    """Something that a declaration tells, under the name that expressions have for it."""

    name: str
    kind: Kind
    doc: str
    read: Callable[[Declaration], Value]
    words: tuple[str, ...] = ()
    """The values there are; empty: any."""


CAPABILITIES: Final[Mapping[str, Capability]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Capability("protocol", Kind.WORDS, "transmission protocol", lambda it: it.protocols, ("T=0", "T=1")),
            Capability("rate", Kind.WORDS, "F and D, as TA1", lambda it: tuple(f"{ta1:02X}" for ta1 in it.rates)),
            Capability("class", Kind.WORDS, "operating class", lambda it: it.classes, ("A", "B", "C")),
            Capability(
                "mode",
                Kind.WORDS,
                "after a cold reset",
                lambda it: (it.mode,),
                ("negotiable", "specific", "specific-fixed"),
            ),
            Capability("ifsc", Kind.NUMBER, "T=1: information field in bytes", lambda it: it.ifsc),
            Capability("edc", Kind.WORDS, "T=1: error detection code", lambda it: _one(it.edc), ("LRC", "CRC")),
            Capability("extended", Kind.TRUTH, "APDUs of extended length", lambda it: it.extended),
            Capability("chaining", Kind.TRUTH, "commands in a chain", lambda it: it.chaining),
            Capability("files", Kind.WORDS, "whose files it has", lambda it: _one(it.files)),
            Capability("application", Kind.WORDS, "an application", lambda it: it.applications),
            Capability("stack", Kind.WORDS, "stack", lambda it: it.stacks, ("channel", "ip")),
            Capability("mtu", Kind.NUMBER, "largest packet in bytes", lambda it: it.mtu),
            Capability("memory", Kind.NUMBER, "for the stack: 2 KiB", lambda it: it.memory),
            Capability("channels", Kind.NUMBER, "open at a time", lambda it: it.channels),
            Capability("ports", Kind.NUMBER, "I/O ports", lambda it: it.ports),
            Capability("ip", Kind.WORDS, "version of IP", lambda it: it.versions, ("4", "6")),
            Capability("addressing", Kind.WORDS, "IP", lambda it: it.addressing, ("numbered", "static", "pool", "ppp")),
            Capability("transport", Kind.WORDS, "of its applications", lambda it: it.transports, ("tcp", "udp")),
            Capability("mru", Kind.NUMBER, "PPP: MRU asked for", lambda it: it.mru),
            Capability("takes", Kind.NUMBER, "PPP: information field taken in any case", lambda it: it.takes),
            Capability(
                "deviation", Kind.WORDS, "declared deviation", lambda it: tuple(each.name for each in it.deviations)
            ),
        )
    }
)
"""The names that expressions may use."""


def _one(word: str | None) -> tuple[str, ...] | None:
    return None if word is None else (word,)


class _Expression:
    """A part of an expression: true, false, or unknown (None) of a declaration."""

    def holds(self, declaration: Declaration) -> bool | None:
        raise NotImplementedError

    def names(self) -> tuple[str, ...]:
        """The capabilities it speaks of, in order."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Term(_Expression):
    """One capability, and what is asked of it."""

    name: str
    operator: str = ""
    """Empty: a word of it, or anything at all."""
    wanted: str = ""
    number: int = 0

    def holds(self, declaration: Declaration) -> bool | None:
        have = CAPABILITIES[self.name].read(declaration)
        if have is None:
            return None
        if isinstance(have, tuple):
            return self.wanted in have if self.wanted else bool(have)
        if not self.operator:
            return bool(have)
        return {
            ">=": have >= self.number,
            "<=": have <= self.number,
            ">": have > self.number,
            "<": have < self.number,
            "=": have == self.number,
        }[self.operator]

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def __str__(self) -> str:
        return " ".join(word for word in (self.name, self.operator, self.wanted) if word)


@dataclass(frozen=True, slots=True)
class Not(_Expression):
    """The contrary."""

    part: _Expression

    def holds(self, declaration: Declaration) -> bool | None:
        state = self.part.holds(declaration)
        return None if state is None else not state

    def names(self) -> tuple[str, ...]:
        return self.part.names()

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


@dataclass(frozen=True, slots=True)
class Every(_Expression):
    """All of the parts; without any it always holds."""

    parts: tuple[_Expression, ...]

    def holds(self, declaration: Declaration) -> bool | None:
        states = {part.holds(declaration) for part in self.parts}
        return False if False in states else None if None in states else True

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.names()))

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, Some) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Some(_Expression):
    """At least one of the parts."""

    parts: tuple[_Expression, ...]

    def holds(self, declaration: Declaration) -> bool | None:
        states = {part.holds(declaration) for part in self.parts}
        return True if True in states else None if None in states else False

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.names()))

    def __str__(self) -> str:
        return " or ".join(str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Applicability:
    """An expression, read."""

    expression: _Expression

    def why_not(self, declaration: Declaration) -> str:
        """The first part that is not surely true of the card, with what is declared; empty where all are."""
        whole = self.expression
        for part in whole.parts if isinstance(whole, Every) else (whole,):
            if not part.holds(declaration):
                told = "; ".join(_declared(name, declaration) for name in part.names())
                return f"needs {part}: {told}"
        return ""

    def __str__(self) -> str:
        return str(self.expression)


ALWAYS: Final = Applicability(Every(()))


def applicable(requirement: "Requirement", declaration: Declaration) -> str:
    """Why the requirement does not apply to the card that is declared so, in words; empty where it applies.

    A requirement that the declaration deviates from does not apply; the certificate lists the deviation.
    """
    if reason := requirement.applies.why_not(declaration):
        return reason
    deviation = declaration.deviation(requirement.id)
    return f"declared deviation {deviation.name}: {deviation.text}" if deviation else ""


def _declared(name: str, declaration: Declaration) -> str:
    match CAPABILITIES[name].read(declaration):
        case None:
            return f"the declaration says nothing of {name}"
        case bool(state):
            return f"declared is {name} {'yes' if state else 'no'}"
        case int(number):
            return f"declared is {name} {number}"
        case words:
            return f"declared is {name} {' '.join(words)}" if words else f"declared is no {name}"


def _bracketed(part: _Expression) -> str:
    return str(part) if isinstance(part, Term | Not) else f"({part})"


_TOKEN = re.compile(r"\s*(?:(?P<sign>>=|<=|>|<|=|\(|\))|(?P<word>[A-Za-z0-9][A-Za-z0-9_.=-]*))")
_UNITS: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20}
_SIGNS: Final = (">=", "<=", ">", "<", "=")
_DEEPEST: Final = 20


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    offset: int


def parse_applicability(text: str) -> Applicability:
    """Read an expression; empty: it always applies. Raises PydanticCustomError with what was found, where, and what was expected."""
    return Applicability(_Reader(text).whole()) if text.strip() else ALWAYS


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), _Token("", len(text.rstrip()))]
        self._place = 0
        self._depth = 0

    def whole(self) -> _Expression:
        found = self._some()
        if self._next.text:
            self._refuse("'and', 'or', or the end of the expression")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _refuse(self, what: str) -> NoReturn:
        token = self._next
        found = quoted(token.text) if token.text else "the end of the expression"
        raise expected(what, found, token.offset)

    def _some(self) -> _Expression:
        parts = [self._every()]
        while self._next.text == "or":
            self._take()
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _every(self) -> _Expression:
        parts = [self._negation()]
        while self._next.text == "and":
            self._take()
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _negation(self) -> _Expression:
        if self._next.text not in ("not", "("):
            return self._term()
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"at most {_DEEPEST} levels of 'not' and brackets")
        if self._take().text == "not":
            found: _Expression = Not(self._negation())
        else:
            found = self._some()
            if self._next.text != ")":
                self._refuse("')'")
            self._take()
        self._depth -= 1
        return found

    def _term(self) -> Term:
        name = self._next.text
        if name not in CAPABILITIES:
            self._refuse(f"one of {one_of(CAPABILITIES)}{suggestion(name, CAPABILITIES)}")
        self._take()
        capability = CAPABILITIES[name]
        after = self._next.text
        if after in ("and", "or", ")", ""):
            return Term(name)
        if capability.kind is Kind.NUMBER and after in _SIGNS:
            self._take()
            return self._compared(name, after)
        if capability.kind is not Kind.WORDS or after in (*_SIGNS, "(", "not"):
            self._refuse(f"{capability.kind.value} after {name!r}")
        return self._word(capability)

    def _word(self, capability: Capability) -> Term:
        word = self._next.text
        if capability.words and word not in capability.words:
            self._refuse(f"one of {one_of(capability.words)}{suggestion(word, capability.words)}")
        if capability.name == "rate" and not re.fullmatch("[0-9A-F]{2}", word):
            self._refuse("TA1: two hexadecimal digits such as '96'")
        self._take()
        return Term(capability.name, wanted=word)

    def _compared(self, name: str, operator: str) -> Term:
        digits = self._next.text
        if not re.fullmatch("[0-9]{1,9}", digits):
            self._refuse("a whole number")
        self._take()
        number = int(digits)
        if name == "memory":
            if self._next.text not in _UNITS:
                self._refuse(f"one of {one_of(_UNITS)}")
            unit = self._take().text
            return Term(name, operator, f"{digits} {unit}", number * _UNITS[unit])
        return Term(name, operator, digits, number)


def _tokens(text: str) -> list[_Token]:
    found, place, end = [], 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            offset = place + len(text[place:]) - len(text[place:].lstrip())
            raise expected("a name, a value, a comparison or a bracket", quoted(text[offset]), offset)
        group = match.lastgroup or ""
        found.append(_Token(match[group], match.start(group)))
        place = match.end()
    return found


def _applies(value: object) -> Applicability:
    if isinstance(value, Applicability):
        return value
    if isinstance(value, str):
        return parse_applicability(value)
    raise expected("an expression such as 'stack channel and channels >= 4'")


Applies = Annotated[
    Applicability,
    PlainValidator(_applies),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["stack channel and channels >= 4", "protocol T=1"]}),
]
"""An expression over declared capabilities, as a value of a file."""
