"""Propose a project file for a file of payments, and say what was inferred and why.

Not here: reading the finished project file (`project`).  Imports `core`; only `cli` imports it.  Begin at
`propose.py`.
"""

from fraud_detection.onboarding.column_assignment import Finding, Overrides, Question
from fraud_detection.onboarding.propose import Proposal, propose

__all__ = ["Finding", "Overrides", "Proposal", "Question", "propose"]
