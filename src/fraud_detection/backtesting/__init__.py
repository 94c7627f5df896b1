"""A change set tried on history: both arms decide the same payments, and nothing comes from the future.

Not here: comparison (`evaluation`) and live traffic (`challengers`).  Imports `training`, `evaluation`,
`history`, `engine`; challengers import it.  Begin at `replay.py`.
"""
