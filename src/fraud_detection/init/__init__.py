"""Guess a project file from a file of payments, and say what was guessed and why."""

from fraud_detection.init.board import Overrides, Question, Remark
from fraud_detection.init.propose import Proposal, propose

__all__ = ["Overrides", "Proposal", "Question", "Remark", "propose"]
