"""Release registry: an append-only log of releases, with the bundles and configurations that they name.

Not here: which challenger is promoted (`challengers`), how a service follows the registry
(`serving/embedded/release_follower.py`). Imports `core`, `project`, `engine`, `adapters`.  Begin at
`registry.py`; see docs/adr/0011.
"""
