"""What a host keeps over a restart: any of it comes back from its text, and what is no such text is told with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.host.ip_pool import AddressPool, Lease
from bench.host.memory import FIRST_LINE, HostMemory, HostMemoryError
from bench.host.names import NameOwner, NameZone
from bench.net.protocols import address, is_one_host

identities = st.binary(min_size=1, max_size=32)
hosts = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)).filter(is_one_host)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    st.lists(st.builds(Lease, identities, hosts), unique=True).map(tuple),
    st.lists(st.builds(NameOwner, identities, labels), unique=True).map(tuple),
)
def test_all_of_it_comes_back(leases: tuple[Lease, ...], names: tuple[NameOwner, ...]) -> None:
    memory = HostMemory(leases, names)
    assert HostMemory.decode(memory.encode()) == memory


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("lease 00", 2),
        ("lease 00 10.0.0.1 x", 2),
        ("lease  10.0.0.1", 2),
        ("lease zz 10.0.0.1", 2),
        ("lease 00 10.0.0.256", 2),
        ("lease 00 224.0.0.1", 2),
        ("lease " + "00" * 33 + " 10.0.0.1", 2),
        ("name 00 Purse", 2),
        ("name 00 -purse", 2),
        ("# a remark\n\nlet 00 10.0.0.1", 4),
    ],
)
def test_a_line_that_is_none_is_told(line: str, number: int) -> None:
    with pytest.raises(HostMemoryError, match=rf"^memory\.txt:{number}: .*expected 'lease IDENTITY ADDRESS'"):
        HostMemory.decode(f"{FIRST_LINE}\n{line}\n", "memory.txt")


@given(st.text(max_size=200))
def test_any_text_is_a_memory_or_an_error(text: str) -> None:
    for each in (text, f"{FIRST_LINE}\n{text}"):
        try:
            HostMemory.decode(each)
        except HostMemoryError:
            continue


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    assert HostMemory.read(path) == HostMemory()
    memory = HostMemory((Lease(b"A", address("10.0.0.1")),), (NameOwner(b"A", "purse"),))
    memory.write(path)
    assert HostMemory.read(path) == memory
    assert [each.name for each in tmp_path.iterdir()] == ["memory"]
    with pytest.raises(HostMemoryError, match="Is a directory"):
        HostMemory.read(tmp_path)
    with pytest.raises(HostMemoryError, match="No such file"):
        memory.write(tmp_path / "no" / "memory")
    path.write_bytes(b"\xff" * (1 << 21))
    with pytest.raises(HostMemoryError, match="more than"):
        HostMemory.read(path)


def test_a_zone_and_a_pool_begin_with_it() -> None:
    memory = HostMemory((Lease(b"A", address("10.0.0.3")),), (NameOwner(b"A", "purse"),))
    zone = NameZone(remembered=memory.names)
    assert zone.owners() == memory.names
    assert zone.lookup("purse.cards.test.", 4) == ()
    assert not zone.claim("purse", b"B", object(), ())
    pool = AddressPool(address("10.0.0.1"), 4, memory.leases)
    assert pool.take(b"B") == address("10.0.0.1")
    assert pool.take(b"A") == address("10.0.0.3")
