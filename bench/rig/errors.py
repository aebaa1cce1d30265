"""What may go wrong with a rig.

::

    RigError            the rig cannot be built or has broken: the bench's fault, never the card's
    RigNotAble          the rig is sound but cannot do what the point asks (choose a rate, give so many cards): not applicable
"""


class RigError(Exception):
    """The rig cannot be built or has broken. Its text says which part and what to do."""


class RigNotAble(Exception):  # noqa: N818 - not an error: the point does not apply to this rig
    """The rig is sound, but cannot do what the point asks. Its text is the reason shown beside "not applicable"."""
