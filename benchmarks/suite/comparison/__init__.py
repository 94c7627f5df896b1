"""Other servers with the same model, each in an environment of its own, run as its documentation says.

They get rows of features that are computed already, and keep nothing.
"""
