"""A seeded simulation that makes payments, fraud among them, and the labels that follow.

Everything is a function of `SimulatorSettings`, but for `rate_control`, which sleeps, and `run`, which
writes.  Not here: anything that the product needs to serve.
Imports `core` and `adapters`; demo and cli import it.
Begin at `simulate.py`; see docs/simulator.md.
"""
