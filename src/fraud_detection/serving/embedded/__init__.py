"""One process, one state file: takes batches, decides, commits, and only then returns the decisions.

`stream_runner` feeds it a file or a pipe, `release_follower` exchanges the release it decides with.  Not
here: HTTP. Begin at `service.py`.
"""
