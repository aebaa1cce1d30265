"""``cardbench readers``: what is attached, over which interface, and what it can do."""

import json
from dataclasses import asdict
from enum import Enum

import click

from bench.readers.contract import Abilities
from bench.rig.inventory import Found, Inventory, take_inventory


@click.command("readers")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the table, for programs.")
def readers_command(as_json: bool) -> None:
    """List every reader that is attached: over PC/SC, as a raw USB device, and serial ports.

    Nothing is powered, claimed or opened. One reader may be listed twice: by pcscd that drives it, and as the USB device
    that it is; both lines then show the same identity. Serial ports are all listed, for a Phoenix interface looks like any other.

    \b
    What the lines say:
      first     the interface, and what a rig file calls it (reader: {kind: pcsc, name: …}, {kind: usb, device: …}, {kind: serial, port: …})
      level     what it takes as one exchange: character, tpdu or apdu. The finer, the more can be judged
      rate      selectable: the bench chooses F and D, so sweeps run; observed: the driver chooses and tells; unknown
      classes   operating classes it supplies: A 5 V, B 3 V, C 1.8 V
      times     what its time stamps resolve, and where they are taken
      identity  what locks, write counts and calibrations know it by; "unstable" where it changes with the port

    \b
    Examples:
      cardbench readers
      cardbench readers --json | jq '.readers[] | select(.card)'
      cardbench atr 3B 02 14 50                     explain a card's answer to reset
      cardbench rig scan --out rigs/lab.yaml        write them into a rig file

    Exit status: 0, also where nothing is attached; what an interface lacks (a daemon, a package, a permission) is said in a line.
    """
    inventory = take_inventory()
    if as_json:
        click.echo(json.dumps(_tree(inventory), indent=2, ensure_ascii=False))
        return
    for found in inventory.found:
        _tell(found)
    if not inventory.found:
        click.echo("no reader is attached")
    for remark in inventory.remarks:
        click.echo(f"{remark.interface}: {remark.text}", err=True)


def _tell(found: Found) -> None:
    click.echo(f"{found.interface}  {found.address}")
    lines = [
        ("name", found.name if found.name != found.address else ""),
        ("at", found.where),
        ("card", card_text(found)),
        ("can do", abilities_text(found.abilities) if found.abilities is not None else ""),
        ("identity", found.key + ("" if found.stable else "  (unstable: it changes with the port)")),
        ("in use by", found.holder),
        ("note", found.remark),
    ]
    for name, text in lines:
        if text:
            click.echo(f"  {name:<10}{text}")
    click.echo()


def card_text(found: Found) -> str:
    """Whether a card is in the reader, and its ATR."""
    if found.card is None:
        return ""
    if not found.card:
        return "none"
    return f"present, ATR {found.atr.hex(' ').upper()}" if found.atr else "present, no ATR"


def abilities_text(abilities: Abilities) -> str:
    """A reader's abilities in one line."""
    protocols = "/".join(f"T={number}" for number in abilities.protocols) or "no protocol told"
    classes = f"classes {abilities.classes}" if abilities.classes else "classes not told"
    clocks = "-".join(f"{hz / 1e6:g}" for hz in abilities.clocks_hz)
    parts = [
        f"level {abilities.level}",
        f"rate {abilities.rate}",
        protocols,
        classes,
        f"{clocks} MHz" if clocks else "",
        f"{abilities.slots} slot{'s' if abilities.slots != 1 else ''}",
        f"times {_duration(abilities.resolution_ns)} ({abilities.stamped})",
        "notices removal" if abilities.removal else "does not notice removal",
    ]
    return ", ".join(part for part in parts if part)


def _duration(ns: int) -> str:
    for factor, unit in ((10**6, "ms"), (10**3, "µs")):
        if ns >= factor:
            return f"{ns / factor:g} {unit}"
    return f"{ns} ns"


def _tree(inventory: Inventory) -> dict[str, object]:
    return {
        "readers": [_plain(asdict(each)) for each in inventory.found],
        "remarks": [{"interface": str(each.interface), "text": each.text} for each in inventory.remarks],
    }


def _plain(value: object) -> object:
    """Codes as their words, bytes in hexadecimal."""
    match value:
        case dict():
            return {str(name): _plain(each) for name, each in value.items() if name != "node"}
        case list() | tuple():
            return [_plain(each) for each in value]
        case bytes():
            return value.hex(" ").upper()
        case Enum():
            return str(value)
        case _:
            return value
