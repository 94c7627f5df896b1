"""Commands to make a bundle: `features`, `train`, `evaluate`, `prequential`, `emerging-fraud`."""
