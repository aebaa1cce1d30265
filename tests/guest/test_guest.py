"""The guest itself: programs run in it as on the host, several at once, and what goes wrong is told."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.guest.machine import Guest, GuestError, missing_parts

pytestmark = pytest.mark.skipif(bool(missing_parts()), reason=missing_parts() or "nothing is missing")


def test_a_program_gives_status_and_both_outputs(guest: Guest) -> None:
    result = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_it_is_another_machine_with_the_modules_in_place(guest: Guest) -> None:
    assert guest.run(["uname", "-r"]).checked().strip() == (guest.version)
    loaded = {line.split()[0] for line in guest.run(["cat", "/proc/modules"]).checked().splitlines()}
    assert {"xhci_hcd", "vhci_hcd", "usbmon", "ppp_async", "tun", "cdc_eem"} <= loaded
    assert "does not load" not in guest.console_log.read_text()


def test_the_projects_own_environment_runs_there(guest: Guest) -> None:
    result = guest.python("import bench, sys; print(bench.__file__); print(sys.prefix)", timeout=60)
    import bench

    assert result.checked().split() == [bench.__file__, sys.prefix]


def test_standard_input_and_a_large_output(guest: Guest) -> None:
    data = bytes(range(65, 91)) * 20_000
    assert guest.run(["cat"], stdin=data).checked() == data.decode()


def test_the_share_is_seen_from_both_sides(guest: Guest) -> None:
    (guest.share / "in").write_text("from the host")
    guest.run(["sh", "-c", f"cat {guest.share}/in > {guest.share}/out"]).checked()
    assert (guest.share / "out").read_text() == "from the host"


def test_what_it_writes_elsewhere_stays_there(guest: Guest) -> None:
    guest.run(["sh", "-c", "echo x > /etc/written-by-the-guest && echo x > /run/there"]).checked()
    assert not os.path.exists("/etc/written-by-the-guest")


def test_jobs_run_side_by_side_and_are_stopped_with_all_they_started(guest: Guest) -> None:
    with guest.start(["sh", "-c", "sleep 1000 & echo started; wait"]) as first, guest.start(["cat"]) as second:
        first.wait_for("started")
        second.write(b"hello\n")
        second.wait_for("hello")
    assert first.status == -signal.SIGTERM
    assert second.status == -signal.SIGTERM
    assert "sleep 1000" not in guest.run(["ps", "ax"]).checked()


def test_a_program_that_takes_too_long_is_ended(guest: Guest) -> None:
    with pytest.raises(TimeoutError, match=r"sleep 1000 ran over 0\.5 s"):
        guest.run(["sleep", "1000"], timeout=0.5)


def test_a_program_that_is_not_there(guest: Guest) -> None:
    result = guest.run(["/no/such/program"])
    assert result.status == 127
    assert "No such file" in result.stderr


def test_words_that_never_come(guest: Guest) -> None:
    with pytest.raises(AssertionError, match="'never' did not come"):
        guest.start(["echo", "always"]).wait_for("never")


@pytest.mark.parametrize("kind", ["serial", "console"])
@pytest.mark.parametrize("number", [0, 1])
def test_serial_lines_reach_the_host(guest: Guest, kind: str, number: int) -> None:
    wire = guest.serial(number) if kind == "serial" else guest.console(number)
    echo = f"exec 3<>{wire.device} && stty -F {wire.device} raw -echo && echo ready && head -c 5 <&3 && echo back >&3"
    with wire.connect() as line, guest.start(["sh", "-c", echo]) as job:
        job.wait_for("ready")
        line.sendall(b"there")
        job.wait_for("there")
        line.settimeout(10)
        assert line.makefile("rb").readline() == b"back\n"


def test_qemu_refuses_and_says_why(guest: Guest) -> None:
    with pytest.raises(GuestError, match=r"QEMU refuses chardev-add .*no-such-place"):
        guest.plug("/no-such-place/socket")


def test_a_guest_that_has_died_is_told_from_one_that_is_slow() -> None:
    machine = Guest()
    try:
        job = machine.start(["sleep", "1000"])
        machine.run(["true"])
        os.kill(machine.pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(GuestError, match="the guest has ended"):
            job.wait(600)
        assert time.monotonic() - began < 300
    finally:
        machine.close()
    assert not machine.directory.exists()
