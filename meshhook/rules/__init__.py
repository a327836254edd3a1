"""Pure decisions: no clock, no lock, no I/O, no randomness. ``now`` is always an argument."""
