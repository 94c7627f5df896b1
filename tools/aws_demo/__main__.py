"""`python -m tools.aws_demo`: deploy to AWS services of this machine, stream, sum up, remove everything."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fraud_detection.cli.command import run
from tools.aws_demo.commands import aws_demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Demonstrate; return 0, or 2 when it was refused."""
    return run(aws_demo, "python -m tools.aws_demo", arguments)


if __name__ == "__main__":
    sys.exit(main())
