"""A batch of a Kinesis shard becomes decisions, exactly once in effect, under at-least-once delivery.

`handler` is what Lambda calls, `settings` reads its environment, `batch` reads records, `results` builds what
to store and to log.  It stays light: no numpy, no tables, no plots.  Not here: deployment.  Begin at
`handler.py`; see docs/adr/0005.
"""
