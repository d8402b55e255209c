"""The words of the fleet: frozen types shared by all processes. No I/O, and nothing of ours below it."""
