"""The state file: decisions, labels, quarantine, profiles and offsets, in one SQLite file a worker.

A write-ahead journal takes every batch first (`journal`), tables follow (`tables`, `checkpointer`); `dedup`
knows which ids were decided; the file knows whose it is (`state_guard`) and whether all of it is there
(`commit_marker`, `losses`).  Not here: what is decided.  Begin at `state_file.py` for writing and at
`state_reader.py` for reading.
"""
