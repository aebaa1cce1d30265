"""The report's words: every section, from what was tested. What people did not state is shown as such.

Longer than other files: a function for each section, in the report's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.requirements.catalogue import Strength
from reports.certificate.document import (
    Block,
    Column,
    Document,
    Fact,
    Facts,
    Grid,
    Items,
    Kind,
    Section,
    Signature,
    Text,
)
from reports.certificate.order import Party
from reports.certificate.standing import RULE, Judged, ScenarioEvidence, Standing
from reports.certificate.tested import Tested
from reports.certificate.uncertainty import calibration_text, uncertainty
from reports.detection import Validation
from reports.table import number_text
from reports.verdicts import Tally

NOT_STATED: Final = "not stated"
TITLE: Final = "Conformance test report"
ORDER_OF_STANDINGS: Final = (
    Standing.FAIL,
    Standing.ERROR,
    Standing.INCONCLUSIVE,
    Standing.MARGINAL,
    Standing.PASS,
    Standing.NOT_APPLICABLE,
    Standing.NOT_COVERED,
)
OUTSIDE: Final = (
    (
        "Electrical characteristics: supply currents and voltages, signal levels, rise and fall times, capacitance (ISO/IEC 7816-3, clause 5, and "
        "ISO/IEC 10373-3). The operating class is chosen by the reader and named under the conditions; it is not measured."
    ),
    "Physical and mechanical characteristics, contacts, and resistance to environment (ISO/IEC 7816-1, 7816-2, 10373-1).",
    "Contactless interfaces.",
    "Security: resistance to attack, cryptographic correctness, random numbers, protection of keys.",
    "Whatever a requirement's own level of observation does not show on this rig; such requirements are not covered or not applicable.",
)
"""What no run of this bench says anything of."""


def document_of(
    tested: Tested, id: str, evidence: Grid, list_hash: str, validation: Validation | None = None
) -> Document:
    """The whole report. `evidence` lists the files beside it, `list_hash` is the hash of SHA256SUMS."""
    sections = (
        _parties(tested, id),
        _item(tested),
        _statement(tested, list_hash),
        _method(tested),
        _rig(tested),
        Section("Decision rule", tuple(Text(each) for each in RULE)),
        uncertainty(tested),
        _deviations(tested),
        _scope(tested),
        _requirements(tested, "Requirements of card and chain", True),
        _reasons(tested),
        _requirements(tested, "Requirements of terminal, reader and host, listed apart", False),
        _matrix(tested),
        _validation(validation),
        _evidence(evidence, list_hash),
        _authorisation(tested),
    )
    return Document(
        TITLE,
        id,
        tested.order.laboratory.name if tested.order.laboratory else NOT_STATED,
        _verdict(tested),
        sections,
        tested.record.ended or "",
        f"cardbench {tested.record.environment.cardbench}",
    )


def statement(tested: Tested) -> tuple[str, ...]:
    """The statement of conformity, a sentence each."""
    findings = tested.findings
    failed = findings.of(Standing.FAIL, item=True, mandatory=True)
    opened = findings.of(Standing.INCONCLUSIVE, Standing.ERROR, mandatory=True)
    held = findings.of(Standing.PASS, Standing.MARGINAL, item=True, mandatory=True)
    missing = findings.of(Standing.NOT_COVERED, item=True, mandatory=True)
    beside = findings.of(Standing.FAIL, item=False, mandatory=True)
    said = []
    if failed:
        said.append(f"The item does not conform: it fails {_named(failed)}.")
    elif opened or beside or tested.missing or not findings.counts:
        said.append("No statement of conformity can be made.")
    else:
        said.append(
            f"The item conforms to the {_count(held, 'mandatory requirement')} that apply to it and were tested."
        )
    if failed and held:
        said.append(f"It holds {_count(held, 'other mandatory requirement')}.")
    if opened:
        said.append(f"Left open, inconclusive or by an error of the bench: {_named(opened)}.")
    if beside:
        said.append(f"Terminal, reader or host fail {_named(beside)}; the item is not blamed for it.")
    if tested.missing:
        said.append(f"{tested.missing} of {len(tested.record.planned)} planned points did not finish.")
    if not findings.counts:
        said.append("No requirement of card or chain was judged.")
    if missing:
        said.append(f"{_count(missing, 'mandatory requirement')} not covered by this report: nothing is said of them.")
    lesser = [one for one in findings.of(Standing.FAIL, item=True) if not one.mandatory]
    if lesser:
        said.append(f"Not held, without deciding: {_named(lesser)}.")
    return tuple(said)


def _verdict(tested: Tested) -> str:
    if tested.findings.of(Standing.FAIL, item=True, mandatory=True):
        return "fail"
    return "inconclusive" if tested.exit_status else "pass"


def _parties(tested: Tested, id: str) -> Section:
    order, record = tested.order, tested.record
    facts = [
        Fact("Report", id, code=True),
        Fact("Order", _stated(order.order)),
        *_party("Laboratory", order.laboratory),
        Fact("Place of the tests", _stated(order.place)),
        *_party("Customer", order.customer),
        Fact("Item received", _stated(order.sample.received)),
        Fact("Tests begun", record.started),
        *(Fact("Tests taken up again", moment) for moment in record.resumed),
        Fact("Tests ended", record.ended or NOT_STATED),
        Fact("Date of issue", _stated(order.issued)),
        Fact("Operator", _stated(order.operator)),
        Fact("Station, run", f"{record.station}, {record.run}", code=True),
    ]
    notes = (
        "The results in this report relate only to the item tested, as it was received.",
        "This report may be reproduced in full only, unless the laboratory agrees in writing.",
        "What is marked as stated by the customer or its maker (declaration, sample) was not verified unless a requirement says so.",
    )
    return Section("Report, laboratory and customer", (Facts(tuple(facts)), Items(notes)))


def _party(label: str, party: Party | None) -> list[Fact]:
    if party is None:
        return [Fact(label, NOT_STATED)]
    return [
        Fact(label, party.name),
        Fact(f"{label}: address", _stated(party.address)),
        Fact(f"{label}: contact", _stated(party.contact)),
    ]


def _item(tested: Tested) -> Section:
    sample, declared = tested.order.sample, tested.declaration
    facts = [
        Fact("Sample", _stated(sample.id or (declared.sample if declared else None)), code=True),
        Fact("Description", _stated(sample.description)),
        Fact("State when received", _stated(sample.state)),
        Fact("Sampling", _stated(sample.sampling)),
        Fact("Answer to reset, as seen", tested.rig.atr or NOT_STATED, code=True),
    ]
    blocks: list[Block] = [Facts(tuple(facts))]
    if tested.timing.virtual:
        blocks.append(
            Text(
                "The run was made in virtual time on software cards: no physical item was tested. The item is the reference card of the bench."
            )
        )
    if declared is None:
        blocks.append(
            Text(
                "No declaration (implementation conformance statement) was given: what the card has is taken from its answers and the rig."
            )
        )
        return Section("Item under test", tuple(blocks))
    blocks.append(Text("Declared by its maker:"))
    tree = declared.model_dump(mode="json", exclude_none=True, exclude={"deviations"})
    blocks.append(Facts(tuple(Fact(name, _words(value)) for name, value in tree.items() if value not in ("", []))))
    if declared.atr is not None and (seen := tested.rig.atr) and declared.atr.hex(" ").upper() not in seen.split("; "):
        blocks.append(
            Text(f"The answer to reset that was seen is not the declared one ({declared.atr.hex(' ').upper()}).")
        )
    if declared.deviations:
        blocks.append(Text("Declared deviations; the requirements they name do not apply:"))
        blocks.append(
            Grid(
                (Column("deviation", 2), Column("requirements", 2, Kind.CODE), Column("what the card does instead", 5)),
                tuple((each.name, " ".join(each.requirements), each.text) for each in declared.deviations),
            )
        )
    return Section("Item under test", tuple(blocks))


def _statement(tested: Tested, list_hash: str) -> Section:
    first, *others = statement(tested)
    rows = []
    for standing in ORDER_OF_STANDINGS:
        mine = [one for one in tested.findings.judged if one.standing is standing]
        numbers = [sum(one.of_item and one.requirement.strength is strength for one in mine) for strength in Strength]
        rows.append((standing.value, *(str(number) for number in numbers), str(sum(not one.of_item for one in mine))))
    columns = (
        Column("verdict", 3, Kind.VERDICT),
        *(Column(f"card and chain: {strength}", 2, Kind.NUMBER) for strength in Strength),
        Column("terminal, reader, host", 2, Kind.NUMBER),
    )
    tally = Tally.of(point.verdict for point in tested.points)
    return Section(
        "Statement of conformity",
        (
            Text(first, strong=True),
            *(Text(each) for each in others),
            Grid(columns, tuple(rows)),
            Text(f"Points of the run: {tally.headline()}"),
            Facts((Fact("SHA-256 of the list of evidence (SHA256SUMS)", list_hash, code=True),)),
        ),
    )


def _method(tested: Tested) -> Section:
    method, record = tested.method, tested.record
    facts = [
        Fact(
            "Method",
            f"cardbench {record.environment.cardbench}, {len(method.run)} scenarios, {len(record.planned)} points",
        ),
        Fact("Commit of the bench", _stated(record.environment.commit), code=True),
        Fact("SHA-256 of the scenario set", method.scenario_hash, code=True),
        Fact("SHA-256 of the catalogue", method.catalogue_hash, code=True),
        Fact("Seed", str(record.seed), code=True),
        Fact("Command", " ".join(record.command_line), code=True),
    ]
    blocks: list[Block] = [
        Facts(tuple(facts)),
        Text(
            "Each scenario is a file that names the requirements it speaks to, its conditions, its steps and its limits. "
            "The hash of the set is that of one line "
            "for each scenario (hash of the file, two blanks, its name), sorted by name. Sources, as the requirements name them:"
        ),
    ]
    blocks.append(Items(tuple(f"[{number}] {source}" for source, number in _sources(tested).items())))
    return Section("Method", tuple(blocks))


def _rig(tested: Tested) -> Section:
    rig, there, order = tested.rig, tested.record.environment, tested.order
    facts = [
        Fact("Rig", f"{rig.name} (SHA-256 of its file: {rig.sha256})", code=True),
        Fact("Reader", _stated(rig.reader)),
        Fact("Driver", _stated(rig.driver)),
        Fact("Firmware", _stated(rig.firmware)),
        Fact("Operating class", _class(tested)),
        Fact("Card clock of the rig", f"{number_text(rig.clock_hz)} Hz" if rig.clock_hz else "as the conditions say"),
        Fact("Host", f"{there.host}, {there.cpus} x {there.cpu} ({there.machine})"),
        Fact("Kernel", there.kernel),
        Fact("Python", there.python),
        Fact("Calibration of the reader", calibration_text(tested)),
        Fact("Temperature", _stated(order.temperature)),
        Fact("Humidity", _stated(order.humidity)),
        Fact("Supply, as measured", _stated(order.supply)),
    ]
    grid = Grid(
        (Column("condition", 2, Kind.CODE), Column("values in this run", 6, Kind.CODE)),
        tuple((each.name, each.values) for each in tested.conditions),
    )
    return Section("Rig and conditions", (Facts(tuple(facts)), grid))


def _class(tested: Tested) -> str:
    """The supply of the card, as far as the bench chooses it."""
    if tested.timing.virtual:
        return "A (5 V), where the condition voltage does not name others"
    return "the lowest that reader and card have in common (over PC/SC the driver's choice), where the condition voltage does not name others"


def _deviations(tested: Tested) -> Section:
    method, record = tested.method, tested.record
    said = [f"Stated by the laboratory: {each}" for each in tested.order.deviations]
    said += [f"Provided by others: {each}" for each in tested.order.external]
    said += [
        f"The run was taken up again at {moment}; points that had finished were not run again."
        for moment in record.resumed
    ]
    if tested.missing:
        scenarios = ", ".join(sorted(tested.unfinished))
        said.append(f"{tested.missing} of {len(record.planned)} planned points did not finish: {scenarios}.")
    left = sorted({name for names in method.named_by.values() for name in names} - method.run.keys())
    if left:
        said.append(f"{len(left)} known scenarios were not part of the run: {_some(left)}.")
    if method.changed:
        said.append(
            f"Scenario files that have changed since the run, and are not among the evidence: {_some(method.changed)}."
        )
    if method.gone:
        said.append(f"Scenario files that are not to be found, and are not among the evidence: {_some(method.gone)}.")
    if method.unnamed:
        said.append(
            "The run did not note the hashes of its scenario files; those of the files that lie there now are given."
        )
    if record.environment.commit.endswith("+"):
        said.append("The bench was run from a source tree with changes that no commit holds.")
    said += tested.notes
    said += [f"Remark: {each}" for each in tested.order.remarks]
    return Section("Deviations from the method, and remarks", (Items(tuple(said)) if said else Text("None."),))


def _scope(tested: Tested) -> Section:
    layers = sorted(
        {one.requirement.layer for one in tested.findings.judged if one.standing is not Standing.NOT_COVERED}
    )
    return Section(
        "Scope, and what is outside it",
        (
            Text(
                f"Tested: behaviour of the item at its interface, in the layers {', '.join(layers) or 'none'}, as far as the requirements below say."
            ),
            Text("Outside the scope of this report, whatever its result:"),
            Items(OUTSIDE),
            Text("No opinions or interpretations are given, and no claim of accreditation is made."),
        ),
    )


def _requirements(tested: Tested, title: str, item: bool) -> Section:
    columns = (
        Column("requirement", 5, Kind.CODE),
        Column("clause", 4),
        Column("what is required", 14),
        Column("strength", 3),
        *(() if item else (Column("judges", 3),)),
        Column("verdict", 4, Kind.VERDICT),
        Column("points", 5),
    )
    sources = _sources(tested)
    rows = []
    for one in tested.findings.judged:
        if one.of_item is not item:
            continue
        asked = one.requirement
        whom = () if item else (asked.dut.value,)
        rows.append(
            (
                asked.id,
                f"[{sources[asked.source]}] {asked.clause}",
                asked.text,
                asked.strength.value,
                *whom,
                one.standing.value,
                points_text(one.tally, one.unfinished),
            )
        )
    text = "Numbers in brackets are the sources listed under Method; strengths are those of RFC 2119."
    return Section(title, (Text(text), Grid(columns, tuple(rows))))


def _reasons(tested: Tested) -> Section:
    places = {standing: place for place, standing in enumerate(ORDER_OF_STANDINGS)}
    told = sorted(
        (one for one in tested.findings.judged if one.standing is not Standing.PASS),
        key=lambda one: places[one.standing],
    )
    columns = (Column("requirement", 5, Kind.CODE), Column("verdict", 4, Kind.VERDICT), Column("why", 20))
    return Section(
        "Requirements that did not simply pass, and why",
        (
            Grid(columns, tuple((one.requirement.id, one.standing.value, one.reason) for one in told))
            if told
            else Text("None."),
        ),
    )


def _matrix(tested: Tested) -> Section:
    columns = (
        Column("requirement", 5, Kind.CODE),
        Column("scenario", 8, Kind.CODE),
        Column("verdict", 4, Kind.VERDICT),
        Column("points", 5),
        Column("point that decided", 8, Kind.CODE),
        Column("step, and what was seen", 10),
    )
    rows = [
        (
            line.requirement,
            line.scenario,
            line.verdict.value,
            points_text(line.tally, line.unfinished),
            line.point,
            _seen(tested, line),
        )
        for one in tested.findings.judged
        for line in one.evidence
    ]
    text = (
        "The point that decided is the first of the worst. Every point is in the run's tables under its scenario and name (verdicts, measurements, "
        "exchanges, packets), with its journal; what was captured of it is in capture.pcapng, each packet commented with scenario, point and step."
    )
    return Section("Matrix: requirement, scenario, evidence", (Text(text), Grid(columns, tuple(rows))))


def _seen(tested: Tested, line: ScenarioEvidence) -> str:
    """The step that decided, why, and where its packets are."""
    step = f"step {line.step} ({line.verb})" if line.step else ""
    where = tested.packets.get((line.scenario, line.point), "")
    return ". ".join(part for part in (step, line.reason.rstrip("."), where) if part)


def _validation(validation: Validation | None) -> Section:
    title = "Validation of the bench"
    if validation is None:
        return Section(title, (Text(f"{NOT_STATED.capitalize()}: no detection matrix was given."),))
    columns = (
        Column("wrong on purpose", 5, Kind.CODE),
        Column("what it does", 9),
        Column("requirement", 4, Kind.CODE),
        Column("result", 3),
        Column("point that caught it", 7, Kind.CODE),
    )
    rows = tuple((row.defect, row.text, row.requirement, row.result, row.point) for row in validation.rows)
    text = (
        f"How well the bench catches cards, hosts and readers that are wrong on purpose, on rig {validation.rig}, version {validation.version}: "
        f"{validation.summary()}."
    )
    return Section(title, (Text(text), Grid(columns, rows)))


def _evidence(files: Grid, list_hash: str) -> Section:
    return Section(
        "Evidence",
        (
            Text(
                "The raw records lie beside this report. SHA256SUMS lists each file with its hash (sha256sum -c SHA256SUMS checks them, "
                "and cardbench certify --check "
                "tells files that were added, too). A changed file shows as long as the hash of the list itself is the one printed here."
            ),
            Facts((Fact("SHA-256 of SHA256SUMS", list_hash, code=True),)),
            files,
        ),
    )


def _authorisation(tested: Tested) -> Section:
    person = tested.order.authorised_by
    return Section(
        "Authorisation",
        (
            Signature(
                person.name if person else NOT_STATED,
                _stated(person.function if person else None),
                _stated(tested.order.issued),
            ),
        ),
    )


def points_text(tally: Tally, unfinished: int = 0) -> str:
    """Counts in words: `10 pass, 1 fail`."""
    words = [
        f"{count} {name}"
        for name, count in (
            ("pass", tally.passed),
            ("marginal", tally.marginal),
            ("fail", tally.fail),
            ("inconclusive", tally.inconclusive),
            ("not applicable", tally.not_applicable),
            ("error", tally.error),
            ("unfinished", unfinished),
        )
        if count
    ]
    return ", ".join(words) or "none"


def _sources(tested: Tested) -> dict[str, int]:
    """The sources of all requirements, and the numbers they are named by."""
    sources = sorted({one.requirement.source for one in tested.findings.judged})
    return {source: number for number, source in enumerate(sources, 1)}


def _stated(text: str | None) -> str:
    return text or NOT_STATED


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_words(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _named(judged: Sequence[Judged]) -> str:
    return _some([one.requirement.id for one in judged], 20)


def _count(judged: Sequence[Judged], what: str) -> str:
    return f"{len(judged)} {what}{'' if len(judged) == 1 else 's'}"
