"""Looking back at a decision: find it, make it again to the bit, explain it, and verify the whole record.

Reads state files and writes none.  Not here: what changes a decision.  Imports `serving`, `history`,
`engine`; only `cli` imports it.  Begin at `explain.py`.
"""
