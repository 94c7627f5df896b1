"""A job that replays history which lies in S3 into a table of features in S3, on the machines of a cluster.

`fraud deploy history` starts it on EMR Serverless; `job.py` runs there.  Not here: what is computed
(`training/tables`).  Imports `adapters/aws`; nothing imports it.  Begin at `job.py`.
"""
