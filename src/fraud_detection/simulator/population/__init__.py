"""Who pays whom: cards, merchants and devices, their habits and their names.

Not here: fraud (`simulator/scenarios.py`) and time.  Begin at `entities.py`.
"""
