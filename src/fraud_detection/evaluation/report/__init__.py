"""A comparison as one HTML page with charts.

Not here: any figure, which `evaluation/comparison.py` holds.  Begin at `page.py`.
"""
