"""Put compiled modules, where there are any, under every test, and never a stale one.

pytest would load a module whose examples it collects from its source; imported
here first, the compiled one stays.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "src"
PYTHON_API = SOURCES / "fraud_detection" / "python_api"

# Kept whatever the shell says: else each of the many processes of a run compiles all sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# As `fraud` itself: else two threads that train spin beside other work, twenty times as long as they work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Other environments run these; what they import is not in this one.
collect_ignore = [
    "benchmarks/suite/comparison/services",
    "src/fraud_detection/adapters/spark/dataflow.py",
    "src/fraud_detection/adapters/spark/session.py",
]


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


@pytest.fixture(autouse=True)
def python_api_examples(request: pytest.FixtureRequest) -> None:
    """Give the examples of the public Python API their payments, project, bundle and folder."""
    if isinstance(request.node, pytest.DoctestItem) and request.path.is_relative_to(PYTHON_API):
        request.getfixturevalue("python_api_namespace")


@pytest.fixture
def python_api_namespace(
    doctest_namespace: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Put the names of the examples into their namespace, and their files into the current folder."""
    # Imported here: other tests need none of the libraries that train.
    examples = importlib.import_module("tests.python_api_examples")
    names = examples.names_in(tmp_path)
    doctest_namespace.update(names)
    monkeypatch.setattr("fraud_detection.training.workflow.draw", lambda *_: ())  # a third of the time
    monkeypatch.chdir(tmp_path)
    yield
    for name in names:
        del doctest_namespace[name]
