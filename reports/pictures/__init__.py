"""What the page draws: a module a question, each from records to picture, sentence and data table."""

from __future__ import annotations

from reports.pictures.picture import Picture

__all__ = ["Picture"]
