"""The CloudFormation template: a pure function of settings and release.

One module a part of the system; `resources` has the resources that all are built of.  Not here:
what AWS has already (`deployment/plan.py`).  Begin at `template.py`.
"""
