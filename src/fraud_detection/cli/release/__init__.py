"""Commands of a release: `release`, `rollback`, `backtest`, `shadow`, `compare`, `promote`, `retrain`."""
