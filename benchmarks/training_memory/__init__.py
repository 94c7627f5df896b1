"""Peak memory of training on tables of several sizes, in memory and with pages on disk.

`tables` makes a large table of a real one, `trained` is the process that is measured, `__main__` starts
one after another and prints a table.
"""
