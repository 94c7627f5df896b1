"""The process and its machine: background threads, signals, locks, private files, the log, the collector.

The one folder that other adapters may import.  Not here: anything about payments.  Begin at `background.py`.
"""
