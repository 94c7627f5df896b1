"""Bytes and rows become transactions and labels by the declared schema, with every drift counted.

Not here: where events come from (`adapters/files`, `adapters/aws`), and which of them were decided before.
A stage: it imports `core` and no other stage; the engine, history and onboarding import it.  Begin at
`parser.py`, which reads fields by `declared_fields`, `times` and `values`.
"""

from fraud_detection.core.parse.parser import Parser

__all__ = ["Parser"]
