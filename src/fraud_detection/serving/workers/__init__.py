"""Several processes behind one port: each entity has an owner, shared profiles are replicated.

`supervisor` starts and ends them, `ownership` says who owns an event, `router` asks the owner, `claims` lets
one worker decide an id, `replica` takes in what others committed.  Not here: deciding, which each worker does
as `serving/embedded` does.  Begin at `worker.py`; see docs/adr/0007.
"""
