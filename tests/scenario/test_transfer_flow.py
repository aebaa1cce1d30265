"""A transfer compares what arrives with the pattern, unless it is told not to."""

import pytest

from bench.host.peers import PeerSocket
from bench.pattern import pattern
from bench.scenario.steps.flow import Flow


@pytest.mark.parametrize("verify", [True, False])
def test_what_is_not_the_pattern_breaks_a_flow_that_verifies(verify: bool) -> None:
    flow = Flow(PeerSocket(), "up", None, verify)
    flow.start()
    flow.socket.on_data(pattern(0, 40))
    assert not flow.broken
    flow.socket.on_data(pattern(41, 20))
    assert bool(flow.broken) is verify
