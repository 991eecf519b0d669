"""The runtime in simulation: the real pool, sessions and relays on memory transports, under a virtual clock."""
