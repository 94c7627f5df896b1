"""The outside world, one folder a system: files, AWS, SQLite, HTTP, XGBoost, MLflow, Optuna, a terminal.

An adapter turns foreign exceptions into `core.errors` and foreign shapes into `core` types.  Adapters never
import one another; all may import `host`, which is this process and its machine.  Not here: decisions of any
kind.  Imports `core`; everything above may import it.  Begin at the system that you look for.
"""
