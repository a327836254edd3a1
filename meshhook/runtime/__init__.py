"""The runtime: the only code of meshhook that sleeps, waits or starts threads."""
