"""`python -m benchmarks`: what the system promises, measured on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.commands import bench
from fraud_detection.cli.command import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 2 when it was refused."""
    return run(bench, "python -m benchmarks", arguments)


if __name__ == "__main__":
    sys.exit(main())
