"""Commands to make a bundle: `features`, `train`, `evaluate`, `prequential`, `novelty`."""
