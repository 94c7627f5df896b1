"""How making a table of features grows with history; begin at `__main__.py`."""
