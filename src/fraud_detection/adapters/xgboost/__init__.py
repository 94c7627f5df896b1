"""XGBoost: training, a compiled tree walk for single rows, exact SHAP values, and a trial of foreign bundles.

Not here: calibration and reasons (`core/score`), search of parameters (`adapters/optuna_tuner`).  Begin at
`model.py`, which scores, or `fit.py`.  See docs/adr/0010 and 0027.
"""
