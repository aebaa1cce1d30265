"""What concerns the tests of this repository alone; the bench's own fixtures come with its pytest plugin."""

from __future__ import annotations

import os
from importlib.util import find_spec

# Scenarios run without the development tools.
if find_spec("hypothesis"):
    from hypothesis import settings

    # Two shared cores make a deadline a coin toss. In continuous integration the same examples are tried every time;
    # `make soak` tries many more.
    settings.register_profile("default", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    settings.register_profile("soak", deadline=None, max_examples=10_000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))
