"""Demo: the whole system on a simulation, evaluated by its ground truth.

Not here: anything that the product needs.  Imports everything below; only `cli` imports it.  Begin at
`demo.py`.
"""
