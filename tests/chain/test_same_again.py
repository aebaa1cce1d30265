"""Deterministic: the same rig does the same things at the same ticks, every time."""

from bench.observe import ListSink, Observation
from bench.rig.build import build_rig
from bench.rig.given import Given
from bench.rig.model import RigModel


def _run() -> list[Observation]:
    sink = ListSink()
    model = RigModel.model_validate({"name": "soft", "reader": {"kind": "software"}})
    rig = build_rig(model, Given.model_validate({"cards": "3", "ta1": "96", "mtu": "64"}), sink, 0, False)
    second = rig.engine.timebase.hz
    rig.engine.call(rig.host.start)
    assert rig.engine.wait(lambda: len(rig.host.gateway.services()) == 18, 10 * second)
    sockets = [rig.uplink.dial(each.port) for each in rig.host.gateway.services()]
    for socket in sockets:
        socket.write(b"2 echo\n" * 20)
    rig.engine.wait(lambda: False, second // 5)
    assert rig.chain is not None
    rig.chain.remove(2)
    rig.engine.wait(lambda: False, 3 * second)
    rig.chain.insert(2)
    rig.engine.wait(lambda: False, second)
    rig.close()
    return sink.observations


def test_two_runs_observe_the_same() -> None:
    first, second = _run(), _run()
    assert len(first) > 1000
    assert first == second
