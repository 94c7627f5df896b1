"""Commands to try the system: `init`, `demo`, `generate`."""
