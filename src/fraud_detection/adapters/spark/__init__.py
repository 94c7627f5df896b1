"""Transforms of `core/dataflow.py` on Spark: the cores of one machine without a cluster, or many machines.

Not here: what is computed (`training/tables/partitioned.py`).  pyspark is imported nowhere else.  Imports
`core` and `adapters/host`; training imports it.  Begin at `dataflow.py`.
"""
