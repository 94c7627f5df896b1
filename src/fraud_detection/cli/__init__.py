"""The command `fraud`: a command parses its arguments, calls one function, and prints.

`main` knows all commands, which lie in folders by what a person wants: `try_it`, `train`, `serve`, `release`,
`look_back`, `aws`.  Not here: work.  Imports everything; nothing imports it.  Begin at `main.py`.
"""
