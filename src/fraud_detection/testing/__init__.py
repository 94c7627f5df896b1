"""Fakes of AWS that ship with the package, for your tests and ours: they reject what the services reject.

Hand them to the code that takes boto3's clients.  Each says in its docstring where it differs from its
service, and docs/testing.md tests a rule change through the Lambda function on them.  The contract suite runs
on them, on local services and on moto's server.  Not here: patches of anything.  Imports `adapters`; nothing
of the product imports it but the preflight of a deployment, which decides a payment on them.  Begin at
`dynamodb_fake.py`.
"""
