"""Load a bundle that comes from outside in a process of its own first, and score its test vectors there.

XGBoost reads a model in native code, which a damaged or hostile file can bring down.  Where a bundle enters
(a server's start, a release, a deployment, a backtest), a child process tries it; one that ends the child is
refused, and the process that decides never sees it.  What passed is cached by its digest, so that the
next start does not pay for it; so is what was trained here, which comes from no outside.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from fraud_detection.adapters.xgboost.model import XGBOOST, XGBoostScorer
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import pack, unpack
from fraud_detection.core.score.bundle import MANIFEST, Bundle, from_files

TIMEOUT_S = 60
MAX_MEMORY = 8 << 30
REFUSED = 2


def trusted_scorer(bundle: Bundle, threads: int = 1) -> XGBoostScorer:
    """Return the scorer of a bundle that was tried; raise ConfigError where it fails.

    threads: that XGBoost uses for many rows.
    """
    try_bundle(bundle)
    scorer = XGBoostScorer(bundle.contents.model, bundle.manifest.calibration, threads)
    bundle.check_vectors(scorer)
    return scorer


def try_bundle(bundle: Bundle) -> None:
    """Load a bundle in a child process and score its test vectors there, unless this one passed before.

    Raises ConfigError when the child ends, takes over a minute, or finds other scores than in training.
    """
    passed = _passed(bundle)
    if passed is not None and passed.exists():
        return
    command = [sys.executable, "-m", "fraud_detection.adapters.xgboost.bundle_trial"]
    try:
        child = subprocess.run(  # noqa: S603 - our own module
            command, input=pack(bundle.files()), capture_output=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(_refusal(bundle, f"it did not load within {TIMEOUT_S} s")) from None
    if child.returncode == REFUSED:
        raise ConfigError(child.stderr.decode(errors="replace").strip())
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ConfigError(_refusal(bundle, f"it ended the process that loaded it ({name})"))
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(_refusal(bundle, f"it ended with {last or child.returncode}"))
    mark_tried(bundle)


def mark_tried(bundle: Bundle) -> None:
    """Mark a bundle that this process has trained, and scored the test vectors of, as one that passed."""
    passed = _passed(bundle)
    if passed is not None:
        _store_passed(passed)


def main() -> int:
    """Try the bundle whose archive stands on standard input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        bundle = from_files(unpack(sys.stdin.buffer.read(), "the bundle"), "the bundle")
        scorer = XGBoostScorer(bundle.contents.model, bundle.manifest.calibration)
        bundle.check_vectors(scorer)
        scorer.contributions(bundle.contents.vectors.matrix())
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


def _refusal(bundle: Bundle, why: str) -> str:
    return (
        f"bundle {bundle.name}: its model was tried in a process of its own, and {why}; it is damaged or "
        "hostile: bring it back from where it was trained, or train again"
    )


def _passed(bundle: Bundle) -> Path | None:
    """Return the file that says that a bundle passed; None where nobody has a folder for such."""
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and f"{os.environ['HOME']}/.cache")
    if not cache:
        return None
    # The manifest holds the hash of every other file; another XGBoost may fail where this one does not.
    content = bundle.files()[MANIFEST] + XGBOOST.encode() + sys.version.encode()
    return Path(cache) / "fraud-detection" / "tried-bundles" / hashlib.sha256(content).hexdigest()


def _store_passed(passed: Path) -> None:
    try:
        passed.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        passed.touch(mode=0o600)
    except OSError:
        # A home that cannot be written to: the next start tries it again, which costs a second.
        return


if __name__ == "__main__":
    sys.exit(main())
