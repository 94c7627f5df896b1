"""What is live: a registry of releases as an append-only log, and the engines that each of them needs.

Not here: who proposes a release (`challengers`) and who follows it (`serving/embedded/release_follower.py`).
Imports `core`, `project`, `engine`, `adapters`.  Begin at `registry.py`; see docs/adr/0011.
"""
