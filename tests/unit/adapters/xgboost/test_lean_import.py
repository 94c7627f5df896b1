"""Processes of the project do without scikit-learn, which XGBoost would import; other programs keep it."""

import importlib
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from fraud_detection.adapters.xgboost.lean_import import without_scikit_learn


def main_module(started_with: str | None) -> ModuleType:
    module = ModuleType("__main__")
    module.__spec__ = None if started_with is None else ModuleSpec(started_with, None)
    return module


@pytest.mark.parametrize(
    ("program", "started_with", "hidden"),
    [
        ("/bin/fraud", None, True),
        ("worker.py", "fraud_detection.serving.workers.worker", True),
        ("notebook.py", None, False),
        ("fraud", "ipykernel_launcher", False),
    ],
)
def test_it_is_hidden_from_processes_of_the_project_alone(
    program: str,
    started_with: str | None,
    hidden: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", main_module(started_with))
    monkeypatch.setattr(sys, "argv", [program])
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Found()])
    with without_scikit_learn():
        if hidden:
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module("sklearn")
        else:
            assert importlib.import_module("sklearn").__name__ == "sklearn"
    assert importlib.import_module("sklearn").__name__ == "sklearn"
    monkeypatch.delitem(sys.modules, "sklearn")


class Found:
    """Finds every module, and makes it empty."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec:
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, _: ModuleSpec) -> None:
        return None

    def exec_module(self, _: ModuleType) -> None:
        """Leave it empty."""


def test_a_process_of_the_project_imports_xgboost_and_no_more_of_scikit_learn() -> None:
    trial = [sys.executable, "-X", "importtime", "-m", "fraud_detection.adapters.xgboost.bundle_trial"]
    done = subprocess.run(trial, input="", capture_output=True, text=True, check=False)  # noqa: S603 - Python
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "xgboost.core" in imported
    assert not {"sklearn.base", "pandas"} & imported
