"""A fresh clone of the project with an environment that is already there, to run documented commands in.

Nothing is installed again: the clone has an environment of its own, whose `fraud` runs the clone's sources on
the libraries of ours.  The path has a space and a letter outside of ASCII, as a home folder may have.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

from tests.root import ROOT

OTHER_ENVIRONMENTS = (".venv-aws", ".venv-spark")
"""Of the local services and of Spark: a clone has those of this checkout, and installs none."""
LAUNCHER = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys
from {module} as main
sys.exit(main())
"""
PROGRAMS = {
    "fraud": "fraud_detection.cli.main import main",
    "dvc": "dvc.cli import main",
    "pytest": "pytest import main",
    "lint-imports": "importlinter.cli import lint_imports_command",
}


def git(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout


def fresh_clone(folder: Path, *, compiled: bool = True) -> Path:
    """Return a clone of the project as it lies here, with what is not committed yet.

    compiled: with the compiled modules that lie here; without, `environment` needs FRAUD_PURE=1.
    """
    clone = folder / "mein Häuschen" / "fraud"
    git("clone", "--quiet", str(ROOT), str(clone), folder=folder)
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=ROOT)
    for name in filter(None, listed.split("\0")):
        (clone / name).unlink(missing_ok=True)
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    for module in (path for kind in ("*.so", "*.pyd") for path in (ROOT / "src").rglob(kind) if compiled):
        shutil.copy(module, clone / module.relative_to(ROOT))
    _add_environment(clone, ".compiled" if compiled and os.environ.get("FRAUD_PURE") != "1" else ".pure")
    return clone


def _add_environment(clone: Path, marker: str) -> None:
    home = clone / ".venv"
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    theirs = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = [str(clone / "src"), *(f"import site; site.addsitedir({path!r})" for path in theirs)]
    (packages / "clone.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, module in PROGRAMS.items():
        _add_program(home / "bin" / name, module)
    for name in OTHER_ENVIRONMENTS:
        (clone / name).mkdir()
        for entry in (ROOT / name).glob("[!.]*"):
            (clone / name / entry.name).symlink_to(entry)
    others = (f"{name}/.locked" for name in OTHER_ENVIRONMENTS)
    for name in (".venv/.locked", ".venv/.installed", f".venv/{marker}", *others):
        (clone / name).touch()


def _add_program(program: Path, module: str) -> None:
    text = LAUNCHER.format(python=program.with_name("python"), module=module)
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)


def environment(clone: Path, **more: str) -> dict[str, str]:
    """Return the environment of somebody who has just opened a terminal: nothing of ours is on the path."""
    path = [
        part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != Path(sys.executable).parent
    ]
    inherited = {
        name: value for name, value in os.environ.items() if name in {"LANG", "TMPDIR", "FRAUD_PURE"}
    }
    return {
        "HOME": str(clone.parent),
        "PATH": os.pathsep.join(path),
        "LC_ALL": "C.UTF-8",
        **inherited,
        **more,
    }
