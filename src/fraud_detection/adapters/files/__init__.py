"""Files of payments and labels: JSON Lines, CSV and Parquet, read in batches with their offsets.

A file is known by its content (`source_identity`), and each row without an id by its offset.  Not here: the
meaning of a field (`core/parse`).  Begin at `event_sources.py`; `tables.py` reads and writes columns.
"""
