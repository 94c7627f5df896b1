"""Parse: bytes and rows to transactions and labels by the declared schema, with every drift counted."""

from fraud_detection.parse.parser import Parser

__all__ = ["Parser"]
