"""AWS: one module a service, by botocore, with retries and typed errors.

The only folder that imports boto3 or botocore, beside the fakes in `testing`.  State that decisions depend
on (DynamoDB, SageMaker Feature Store) is in `state`.  Not here: what is deployed (`deployment`) and the
Lambda handler (`serving/aws_lambda`).  Begin at `clients.py` and `retries.py`.
"""
