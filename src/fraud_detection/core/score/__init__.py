"""A bundle (model, fingerprint, calibration, cut-offs), calibrated scores, and reasons of a score.

Not here: the library that evaluates trees (`adapters/xgboost`) and how a bundle is made (`training`).
A stage: it imports `core` and no other stage.  Begin at `bundle.py`.
"""
