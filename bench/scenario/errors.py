"""How a point may end early.

::

    CardFailed      the card (or chain) did not do what it must: verdict fail
    NotApplicable   the point does not apply to this card or rig, with the reason: verdict not applicable
    BenchFault      the bench, a reader or the network went wrong: verdict error, never counted against the card

Any other exception that leaves a step is a fault of the bench too.
"""


class CardFailed(Exception):  # noqa: N818 - a verdict, not an error of the bench
    """The card did not do what it must; the text says what it did and what was required."""


class NotApplicable(Exception):  # noqa: N818 - a verdict, not an error of the bench
    """The point does not apply here; the text is the reason."""


class BenchFault(Exception):  # noqa: N818 - the field's name for it
    """The bench, a reader or the network went wrong; the text says what and where."""
