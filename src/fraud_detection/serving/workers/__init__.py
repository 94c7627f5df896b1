"""Several processes behind one port: each entity has an owner, shared profiles are replicated.

`supervisor` starts and ends them, `ownership` maps an event to its owner (`label_owners` a label), `router`
forwards it, `claims` ensures that one worker alone decides an id, `replica` replicates the others' commits.
Not here: deciding, which each worker does as `serving/embedded` does.  Begin at `worker.py`; see
docs/adr/0007.
"""
