"""The whole path of a payment: parse, features, score, decide.  The only package that knows the order.

`Pipeline` decides batches of raw events exactly once per id; `DecisionEngine` turns feature rows into
decisions, also for backtests and shadows.  Not here: I/O; stores and logs are `core.ports`, which a way of
serving fills.  Imports `core` alone.  Begin at `pipeline.py`.
"""
