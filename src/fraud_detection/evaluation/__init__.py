"""Measures of decisions and of models: ranking, money, calibration, intervals, slices, and the gate.

It compares the decisions of two arms on the same payments, wherever these come from.  Not here:
fitting (`training`), replaying (`backtesting`).  Imports `core`; training and everything above import it.
Begin at `measures.py` for one model and at `compare.py` for two arms.
"""
