"""One process, one state file: takes batches, decides, commits, and only then hands decisions on.

`stream_runner` feeds it a file or a pipe, `release_follower` exchanges what it answers by.  Not here: HTTP.
Begin at `service.py`.
"""
