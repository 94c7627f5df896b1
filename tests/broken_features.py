"""`fraud` with a bug in its features that one payment meets: `python -m tests.broken_features ID WORDS`.

The compiled modules would not take the bug in, so this process reads their sources; both give the same bits.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any

from tests.root import ROOT

PACKAGE = ROOT / "src" / "fraud_detection"


def sources_alone(path: str) -> FileFinder:
    """Find modules of the project, and none that is compiled."""
    if not Path(path).resolve().is_relative_to(PACKAGE):
        raise ImportError
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


class UnforeseenError(Exception):
    """What nobody foresaw."""


def break_features(transaction_id: str) -> None:
    """Let the features of a payment raise an error."""
    sys.path_hooks.insert(0, sources_alone)
    sys.path_importer_cache.clear()
    module = importlib.import_module("fraud_detection.core.features.payment_extract")
    assert str(module.__file__).endswith(".py")
    whole = module.PaymentExtractor.read

    def read(self: Any, payment: Any, row: list[float]) -> None:  # noqa: ANN401 - of modules not yet there
        if payment.transaction_id == transaction_id:
            raise UnforeseenError
        whole(self, payment, row)

    module.PaymentExtractor.read = read


if __name__ == "__main__":
    break_features(sys.argv[1])
    sys.exit(importlib.import_module("fraud_detection.cli.main").main(sys.argv[2:]))
