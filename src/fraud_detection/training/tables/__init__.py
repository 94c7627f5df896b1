"""Tables of features: one row a payment, made by replaying history and by nothing else.

`build` replays, `dataset` is the table in memory and on disk, `cache` finds one that is ready,
`historical_rows` reads back what backtests decide anew.  Not here: fitting.  Begin at `build.py`.
"""
