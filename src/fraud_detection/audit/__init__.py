"""Explain and audit past decisions: find one, redecide it bit-identically, and verify the whole log.

Reads state files and writes none.  Not here: what changes a decision.  Imports `serving`, `history`,
`engine`; only `cli` imports it.  Begin at `explain.py`.
"""
