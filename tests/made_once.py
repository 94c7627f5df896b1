"""Files that many tests read and no test writes: made once for what they are made of, then copied.

They are kept in `build/tests`, under a digest of the sources of the project and of the tests' own
recipe.  A lock makes the processes of a parallel run, and two runs at once, wait for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.root import ROOT

CACHE = ROOT / "build" / "tests"
RECIPES = (
    Path(__file__),
    ROOT / "tests" / "small_simulation.py",
    ROOT / "tests" / "python_api_examples.py",
    ROOT / "tests" / "smaller.py",
    ROOT / "requirements" / "all.lock",
)


@cache
def digest_of_sources() -> str:
    """Return what the files depend on: the sources, the recipes, the locked libraries, Python."""
    found = hashlib.sha256(sys.version.encode())
    package = ROOT / "src" / "fraud_detection"
    for path in (*RECIPES, *sorted(package.rglob("*.py")), *sorted(package.rglob("*.yaml"))):
        found.update(f"{path.relative_to(ROOT)}\n".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def made_once(name: str, make: Callable[[Path], object], folder: Path, cache: Path = CACHE) -> Path:
    """Fill `folder` with a copy of what `make` writes into an empty one; only the first caller makes it."""
    cache.mkdir(parents=True, exist_ok=True)
    whole = cache / f"{name}-{digest_of_sources()}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.is_dir():
            for old in cache.glob(f"{name}-{'?' * 16}*"):
                shutil.rmtree(old)
            begun = whole.with_suffix(".begun")
            begun.mkdir()
            make(begun)
            begun.rename(whole)
        shutil.copytree(whole, folder, dirs_exist_ok=True)
    return folder
