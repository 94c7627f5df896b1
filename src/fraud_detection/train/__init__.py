"""Learn a model from replayed history, judge it honestly, and pack it into a bundle."""
