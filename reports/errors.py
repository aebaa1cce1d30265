"""What can go wrong between the records and the page.

ReportError   a directory holds no run, or the report cannot be written: the caller's to mend
TableError    one table of a run is missing, torn or lacks what it is read for: becomes a note on the page, never the end of it
"""


class ReportError(Exception):
    """No report can be made. The text says what is wrong, where, and what to do."""


class TableError(Exception):
    """One table cannot be used. The text names it."""
