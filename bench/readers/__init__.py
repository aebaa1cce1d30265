"""Everything that powers a card and carries bytes, and what wraps it (recording, faults)."""
