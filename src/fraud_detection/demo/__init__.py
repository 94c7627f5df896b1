"""The whole system on a simulated world, and what its decisions were worth by the truth behind it.

Not here: anything that the product needs.  Imports everything below; only `cli` imports it.  Begin at
`demo.py`.
"""
