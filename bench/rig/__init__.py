"""The rig: which reader, how it is wired, which cards are behind it (rig file), and what a point is given to run on."""
