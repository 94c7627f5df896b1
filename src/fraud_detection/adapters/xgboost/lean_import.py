"""Import XGBoost without scikit-learn, in the processes of this project.

Where scikit-learn is installed, XGBoost imports it for classes that nothing here uses: 1.5 s of the processor
and 90 MB for each server, worker and command.  Another program that imports this package may want those
classes, so there XGBoost is imported as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNUSED = "sklearn"


@contextmanager
def without_scikit_learn() -> Iterator[None]:
    """Let an import of XGBoost inside find no scikit-learn, if this process is one of ours."""
    hidden = is_own_process() and UNUSED not in sys.modules
    if hidden:
        # What is None here counts as not installed.
        sys.modules[UNUSED] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[UNUSED]


def is_own_process() -> bool:
    """Return whether this process was started as `fraud` or as `python -m fraud_detection.something`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return bool(spec.name.partition(".")[0] == __package__.partition(".")[0])
    return Path(sys.argv[0]).stem == "fraud"
