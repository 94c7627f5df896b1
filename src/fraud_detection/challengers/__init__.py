"""What wants to become the champion: shadows, their comparison by mature labels, the gate, retraining.

Not here: the registry (`releases`) and the measures (`evaluation`).  Imports `backtesting`, `serving`,
`training` and below; only `cli` imports it.  Begin at `promotion.py`.
"""
