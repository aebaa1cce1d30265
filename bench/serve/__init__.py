"""The reference card offered to programs outside, in real time."""
