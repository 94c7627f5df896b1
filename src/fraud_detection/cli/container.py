"""What SageMaker starts in the image, with the word `serve` or `train`.

`serve` answers on port 8080 from `/opt/ml/model`; `train` reads channels and hyperparameters below
`/opt/ml/input` and leaves a bundle in `/opt/ml/model`, or the reason for its failure in
`/opt/ml/output/failure`.  The prefix can be another one, and then it runs on any machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fraud_detection.core.errors import ConfigError, FraudDetectionError

ROOT = Path("/opt/ml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve or train; return 2 when it was refused, with one sentence."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    root = Path(os.environ.get("FRAUD_ROOT", ROOT))
    try:
        _run(command, root)
    except FraudDetectionError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _run(command: list[str], root: Path) -> None:
    if command == ["train"]:
        from fraud_detection.training.sagemaker_job import train

        train(root)
    elif command in (["serve"], []):
        from fraud_detection.serving.sagemaker.container import serve

        serve(root)
    else:
        raise ConfigError(f"expected `serve` or `train`, got {' '.join(command)!r}")


if __name__ == "__main__":
    sys.exit(main())
