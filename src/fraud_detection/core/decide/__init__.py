"""A score and the rules that fired become approve, review or decline, with every reason.

`rules` are written in a small typed language (`rule_language`, `rule_functions`, `rule_terms`) and read
`lists`; `policy` takes the most severe action; `decline_cap` bounds declines; `control_group` approves a
random sample of what would have been stopped.
Not here: state of any kind, which the way of serving hands in.  A stage: it imports `core` and no other
stage.  Begin at `policy.py`.
"""
