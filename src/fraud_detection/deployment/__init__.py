"""From settings and a bundle to a running system on AWS: template, package, plan (all pure), apply.

`plan` reads only and can be printed; `apply` takes no decisions.  `backfill_profiles`, `redrive`, `logs` and
`status` work on what runs.  Not here: the handler (`serving/aws_lambda`).  Imports `history`, `adapters`,
`core`; only `cli` imports it.  Begin at `template/template.py`, then `plan.py`.
"""
