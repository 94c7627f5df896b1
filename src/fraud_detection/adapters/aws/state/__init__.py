"""State of the stream processor on AWS: decisions, labels, counts and profiles, each write conditional.

`versioned_profiles` holds what both stores of profiles share; `routed_profiles` sends each entity to its
store.  Not here: deduplication rules, which are the engine's.  Begin at `dynamodb_decisions.py`.
"""
