"""Where the engine meets payments: one folder a way of serving.

`embedded` is one process and one SQLite file; `http` puts it behind an API; `workers` shares the work among
processes; `aws_lambda` decides Kinesis batches; `sagemaker` returns scores; `batch` decides a file once.
All give the same decisions for the same stream.  Not here: training, which serving never imports.  Imports
`history`, `releases`, `engine`, `adapters`, `core`.  Begin at `embedded/service.py`.
"""
