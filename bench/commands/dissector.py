"""``cardbench dissector``: where Wireshark's dissector for the bench's own layers lies."""

import click

from bench.records.dissector import dissector_path


@click.command("dissector")
def dissector_command() -> None:
    """Print the path of the dissector (Lua) for hop, chain and channels, for Wireshark and tshark.

    \b
    Examples:
      wireshark -X lua_script:"$(cardbench dissector)" capture.pcapng
      cp "$(cardbench dissector)" ~/.local/lib/wireshark/plugins/

    docs/captures.md says which fields there are and which filters answer which question.
    """
    click.echo(str(dissector_path()))
