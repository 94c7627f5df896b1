"""The only feature code: training replays history through it, and serving calls it for each payment.

Values are read as they were before the payment (`extract`), then its profiles are updated (`profile_cache`).
Not here: the storage of profiles (`ports.ProfileStore`), and models.  A stage: it imports `core` and no other
stage.  Begin at `windows.py`, then `profile.py` and `extract.py`; `names.py` has every feature's sentence.
"""
