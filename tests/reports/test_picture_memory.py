"""The picture of completeness against memory."""

from pathlib import Path

from reports.load import load
from reports.pictures import memory

from .samples import SampleRun, given, measured, verdict


def test_completeness_is_drawn_over_the_ram_of_its_own_point(tmp_path: Path) -> None:
    run = SampleRun()
    for preset, ram, share in (("small", 1024, 25.0), ("large", 65_536, 100.0)):
        values = [measured("completeness", share, "percent"), measured("ram", float(ram), "bytes")]
        run.add("a/b", f"profile-{preset}", *given(profile=preset, mtu=128), *values, verdict())
    run.add("a/b", "profile-unknown", *given(profile="unknown"), measured("completeness", 50.0, "percent"), verdict())
    picture = memory.picture(load([run.write(tmp_path)]))
    assert picture.sentence == "2 points: 25 % of the features work with 1024 bytes, 100 % with 65536 (medians)."
    assert picture.specification
    assert picture.table is not None
    assert [tuple(row)[-2:] for row in picture.table.rows] == [(1024.0, 25.0), (65_536.0, 100.0)]


def test_without_memory_there_is_nothing_to_draw(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", *given(mtu=64), measured("completeness", 50.0, "percent"), verdict())
    picture = memory.picture(load([run.write(tmp_path)]))
    assert not picture.specification
    assert picture.sentence.startswith("Nothing to draw")
