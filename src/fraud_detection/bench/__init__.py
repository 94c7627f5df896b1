"""Measures what the system promises: this engine, its HTTP door, and other servers beside them."""
