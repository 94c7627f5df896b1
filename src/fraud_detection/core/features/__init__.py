"""The only feature code: training replays history through it, and serving calls it for each payment.

Values are read as they were before the payment (`extract`), then its profiles are updated (`profile_cache`).
Not here: the storage of profiles (`ports.StateStore`), and models.  A stage: it imports `core` and no other
stage.  Begin at `extract.py`, which reads `profile.py`, which holds `windows.py`; `payment_extract.py` has
the features of the payment alone, `names.py` every feature's sentence.  A change of what a feature means
raises `SEMANTICS` in `fingerprint.py`; a change of what a profile stores raises `LAYOUT` in `profile.py`.
"""
