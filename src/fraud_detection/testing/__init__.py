"""Fakes of AWS that ship with the package, for your tests and ours: they refuse what the services refuse.

Not here: patches of anything.  The contract suite runs on them and on local services alike.  Imports
`adapters`; nothing of the product imports it.  Begin at `aws_fakes.py`.
"""
