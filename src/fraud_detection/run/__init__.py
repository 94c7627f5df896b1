"""The doors: where the pure engine is wired to the world."""
