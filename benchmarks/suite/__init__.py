"""Measures what the system promises: this engine, its HTTP service, and other servers with the same model."""
