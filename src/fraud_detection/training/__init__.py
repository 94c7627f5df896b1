"""Training: from a feature table to a bundle: fit, calibrate, choose cut-offs by money, evaluate, pack.

`stages` are what DVC names, `workflow` is one training from end to end.  Not here: serving, which never
imports this.  Imports `history`, `evaluation`, `adapters`, `core`; backtest, challengers and demo import it.
Begin at `stages.py`.
"""
