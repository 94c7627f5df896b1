"""A bundle behind SageMaker's serving contract.

Not here: the training job of the same image (`training/sagemaker_job.py`); `cli/container.py` starts
either.  Begin at
`container.py`.
"""
