"""A file, decided once, and a survey of how a file differs from the declared schema.

Not here: state, of which nothing is stored between two runs.  Begin at `score_file.py`.
"""
