"""History: payments and labels of files, and logged decisions of state files.

A label is known from `known_at` on; a payment of a control group has a sampling weight.  Not here:
feature tables (`training/tables`), so that what serves can read history without training.  Imports `core`,
`adapters`; serving, training, backtesting and audit import it.  Begin at `load.py`.
"""
