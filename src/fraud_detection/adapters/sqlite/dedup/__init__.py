"""The deduplication index of a state file: which ids were decided before, here and by other workers.

`bloom_filter` answers for new ids without reading the file, `shared_ids` lets other workers see the ids.  Not
here: what is done with an id that comes again (`engine`).  Begin at `dedup_index.py`; see docs/adr/0014.
"""
