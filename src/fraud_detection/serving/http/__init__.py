"""Decisions while the customer waits: routes, batches of concurrent requests, keys, health, OpenAPI.

Not here: bytes of HTTP (`adapters/http`), several processes (`serving/workers`).  Begin at `routes.py`, then
`batcher.py`.
"""
