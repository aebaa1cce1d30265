"""One reader, one holder; the lock dies with its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.rig.errors import RigError
from bench.rig.locks import DIRECTORY_VARIABLE, KEPT, USUAL, ReaderLock, file_name, lock_directory

KEY = "usb:08e6:3437:7A1F"
HOLDER = """
import sys, time
from bench.rig.locks import ReaderLock
ReaderLock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "locks"))


def test_two_holders_are_one_too_many_and_the_first_is_named() -> None:
    with ReaderLock(KEY):
        with pytest.raises(RigError, match=rf"the reader {KEY} is in use by process {os.getpid()} of .*: waited 0 s"):
            ReaderLock(KEY, wait_s=0).acquire()
        ReaderLock("usb:another", wait_s=0).acquire().release()
    ReaderLock(KEY, wait_s=0).acquire().release()


def test_a_killed_holder_holds_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, KEY], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RigError, match=f"process {holder.pid} "):
            ReaderLock(KEY, wait_s=0).acquire()
        holder.kill()
        holder.wait(10)
        with ReaderLock(KEY, wait_s=5) as lock:
            assert lock.held


def test_a_child_of_the_holder_holds_nothing() -> None:
    lock = ReaderLock(KEY).acquire()
    with subprocess.Popen(["sleep", "30"], stdin=subprocess.DEVNULL) as child:
        lock.release()
        ReaderLock(KEY, wait_s=0).acquire().release()
        child.kill()


def test_every_user_may_lock() -> None:
    lock = ReaderLock(KEY).acquire()
    assert lock.path.stat().st_mode & 0o777 == 0o666
    assert lock_directory().stat().st_mode & 0o7777 == 0o1777
    lock.release()


def test_a_link_in_the_shared_directory_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (lock_directory() / f"{file_name(KEY)}.lock").symlink_to(target)
    with pytest.raises(RigError, match="cannot be opened"):
        ReaderLock(KEY).acquire()
    assert target.read_text() == "kept"


def test_the_usual_directory_outlives_a_reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DIRECTORY_VARIABLE)
    assert lock_directory() == (KEPT if KEPT.is_dir() else USUAL)


def test_different_keys_have_different_files() -> None:
    assert file_name("a/b") != file_name("a-b")
    assert "/" not in file_name("../../etc/passwd")
