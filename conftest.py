"""Put compiled modules, where there are any, under every test, and never a stale one.

pytest would load a module whose examples it collects from its source; imported
here first, the compiled one stays.
"""

import importlib
import os
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "src"

# Kept whatever the shell says: else each of the many processes of a run compiles all sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# As `fraud` itself: else two threads that train spin beside other work, twenty times as long as they work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Other environments run these; what they import is not in this one.
collect_ignore = ["benchmarks/suite/comparison/services"]


def compiled() -> dict[Path, Path]:
    """Return the source of every compiled module, and what was made of it."""
    artefacts = [path for kind in ("*.so", "*.pyd") for path in (SOURCES / "fraud_detection").rglob(kind)]
    return {path.with_name(path.name.split(".")[0] + ".py"): path for path in artefacts}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person renew the files that tests compare with, after looking at what changed."""
    parser.addoption("--golden", action="store_true", help="write golden files anew")


def pytest_configure() -> None:
    """Refuse compiled modules that are older than their source; import the others."""
    for source, artefact in compiled().items():
        if source.stat().st_mtime > artefact.stat().st_mtime:
            pytest.exit(f"{source.name} is newer than its compiled form: run `make test`, or `make pure`", 2)
    sys.path.insert(0, str(SOURCES))
    for source in compiled():
        importlib.import_module(".".join(source.relative_to(SOURCES).with_suffix("").parts))
