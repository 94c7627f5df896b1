"""Challengers: shadow mode, comparison on mature labels, promotion through the gate, retraining.

Not here: the registry (`releases`) and the measures (`evaluation`).  Imports `backtesting`, `serving`,
`training` and below; only `cli` imports it.  Begin at `promotion.py`.
"""
