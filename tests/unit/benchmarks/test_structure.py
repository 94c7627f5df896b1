"""The figures of a made-up checkout, and of made-up calls, counted by hand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

from benchmarks.call_recorder import Recorder
from tests.root import ROOT

FILES = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "made-up"
        version = "1"
        scripts = { fraud = "fraud_detection.cli:main" }
        [tool.setuptools.packages.find]
        where = ["src"]
        namespaces = false
        """,
    "docs/index.md": "",
    "docs/adr/0001.md": "",
    "docs/picture.svg": "",
    "src/fraud_detection/__init__.py": '"""Nothing."""',
    "src/fraud_detection/errors.py": "class AppError(Exception): ...",
    "src/fraud_detection/cli.py": """
        import sys
        from fraud_detection.serving.http import answer
        def main():
            from fraud_detection.store import table
            print(answer, table)
            sys.exit(0)
        """,
    "src/fraud_detection/core/__init__.py": "",
    "src/fraud_detection/core/events.py": """
        from fraud_detection.errors import AppError
        def read():
            from fraud_detection.core.parse import times
            try:
                times.now()
            except AppError:
                pass
            for _ in range(9):
                try:
                    times.now()
                except AppError:
                    continue
        """,
    "src/fraud_detection/core/parse/__init__.py": "",
    "src/fraud_detection/core/parse/times.py": """
        from fraud_detection.core import events
        def now():
            try:
                return events
            except ValueError:
                return None
        """,
    "src/fraud_detection/serving/__init__.py": "",
    "src/fraud_detection/serving/http.py": """
        from typing import TYPE_CHECKING
        from fraud_detection.core.parse.times import now
        if TYPE_CHECKING:
            from fraud_detection import cli
        answer = now
        """,
    "src/fraud_detection/store/__init__.py": "",
    "src/fraud_detection/store/table.py": "from fraud_detection.core import events",
    "src/fraud_detection/store/file.py": """
        from contextlib import suppress
        from fraud_detection.store import table
        with suppress(OSError):
            open(table)
        """,
    "src/fraud_detection/store/row.py": "",
    "src/fraud_detection/store/not_packed/script.py": "import fraud_detection.cli",
}


def synthetic(folder: Path) -> Path:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        first, *rest = text.strip("\n").splitlines() or [""]
        indent = len(first) - len(first.lstrip())
        path.write_text("".join(f"{line[indent:]}\n" for line in [first, *rest] if line.strip()))
    return folder


def test_a_made_up_checkout_has_the_figures_that_are_counted_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.structure", str(synthetic(tmp_path)), "--json"]
    before = sorted(tmp_path.rglob("*.py"))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(  # noqa: S603 - our own
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert 0 < figures.pop("help_cpu_seconds") < 60
    assert 0 < figures.pop("help_seconds") < 60
    assert figures == {
        "imports": {
            "top": {
                "packages": 5,  # cli, core, errors, serving, store
                "dependencies": 5,
                "depth": 4,
                "circles": 0,
                "chain": [f"fraud_detection.{name}" for name in ("cli", "serving", "core", "errors")],
            },
            "folders": {
                "packages": 6,  # core.parse is another
                "dependencies": 7,
                "depth": 4,
                "circles": 1,
                "chain": [
                    "fraud_detection.cli",
                    "fraud_detection.serving",
                    "fraud_detection.core+fraud_detection.core.parse",
                    "fraud_detection.errors",
                ],
            },
        },
        "sizes": {
            "lines": 37,
            "largest_package": "store",
            "largest_package_modules": 3,
            "functions_p90": 11,  # of 4, 5 and 11
            "modules_p90": 6,  # of 0 (five), 1 (four), 4, 5, 6, 6 and 12
            "swallowed_errors": 2,
            "swallowed_per_thousand_lines": 54.05,
            "suppressed": 1,
        },
        "wheel_lines": 36,
        "docs_pages": 2,
        "banned_words": 0,
    }
    assert sorted(tmp_path.rglob("*.py")) == before
    assert not list(tmp_path.rglob("build"))


CALLER = """
from project import callee
def outer():
    callee.inner()
    callee.inner()
"""
CALLEE = """
def inner():
    helper()
def helper():
    pass
"""


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = ModuleType("project")
    monkeypatch.setitem(sys.modules, "project", package)
    package.callee = loaded(tmp_path / "callee.py", CALLEE)  # type: ignore[attr-defined]
    return loaded(tmp_path / "caller.py", CALLER)


def loaded(path: Path, text: str) -> ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_to_call_another_file_and_to_come_back_are_two_moves(tmp_path: Path, caller: ModuleType) -> None:
    recorder = Recorder(tmp_path)
    with recorder.installed(), recorder.switched(recording=True):
        caller.outer()
    # caller, callee (inner, helper, inner again), caller, callee (the same), caller
    assert recorder.figures() == {"files": 2, "moves": 4, "calls_apart": 1, "calls": 5}
    assert list(recorder.moves()) == [
        "> caller.py outer",
        "> callee.py inner",
        "< caller.py outer",
        "> callee.py inner",
        "< caller.py outer",
    ]


def test_each_thread_goes_its_own_way_and_what_is_elsewhere_is_left_out(
    tmp_path: Path, caller: ModuleType
) -> None:
    recorder = Recorder(tmp_path)
    with recorder.installed(), recorder.switched(recording=True):
        threads = [Thread(target=caller.outer) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorder.elsewhere(caller).outer()
    caller.outer()
    assert recorder.figures() == {"files": 2, "moves": 12, "calls_apart": 3, "calls": 15}
