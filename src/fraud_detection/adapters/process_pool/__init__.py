"""Transforms of `core/dataflow.py` on the cores of one machine: a pool of processes, files between them.

Not here: what is computed (`training/tables/partitioned.py`).  Imports `core`; training imports it.  Begin at
`dataflow.py`.
"""
