"""Past payments and labels: from files, and from the state files of what has decided live.

A label is known from `known_at` on; a payment that a control group stands for keeps its weight.  Not here:
feature tables (`training/tables`), so that what serves can read history without training.  Imports `core`,
`adapters`; serving, training, backtest and audit import it.  Begin at `load.py`.
"""
