"""Between workers of one machine: requests over local sockets, and counts in small shared files.

Not here: who owns an event (`serving/workers`).  Begin at `rpc.py`.
"""
