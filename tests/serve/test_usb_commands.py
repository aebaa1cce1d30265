"""``cardbench card --serve usbredir`` and ``usbip``: wrong use and a machine without the means end in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.card import card_command
from bench.serve.usbip_loop import CONTROLLER


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(card_command, words, catch_exceptions=False)
    return result.exit_code, result.output


def test_usbredir_wants_a_socket() -> None:
    status, said = run("--serve", "usbredir")
    assert status == 2
    assert "--serve usbredir wants --socket PATH" in said


def test_a_place_where_nothing_can_listen(tmp_path: Path) -> None:
    status, said = run("--serve", "usbredir", "--socket", str(tmp_path / "no" / "such" / "place"))
    assert status == 3
    assert "nothing can listen at" in said
    assert "name a path where nothing is" in said


def test_a_level_nobody_knows() -> None:
    status, said = run("--serve", "usbip", "--level", "block")
    assert status == 2
    assert "'tpdu'" in said


@pytest.mark.skipif(
    CONTROLLER.exists(), reason="this machine has no lack of vhci_hcd (the module is loaded): nothing to complain of"
)
def test_a_machine_without_virtual_ports() -> None:
    status, said = run("--serve", "usbip")
    assert status == 3
    assert "as root: modprobe vhci_hcd" in said
