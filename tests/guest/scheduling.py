"""How xdist hands out this project's tests: all that need the guest first and to one worker, everything else one by one."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class OneGuest(LoadScopeScheduling):
    """A guest takes seconds to boot and most of a core: one is enough. ``--dist=loadgroup`` would not group on every version of pytest."""

    def _split_scope(self, nodeid: str) -> str:
        return "guest" if "guest" in nodeid else nodeid

    def _assign_work_unit(self, node: object) -> None:
        if "guest" in self.workqueue:  # the longest unit first, or it would run alone at the end
            self.workqueue.move_to_end("guest", last=False)
        super()._assign_work_unit(node)
