"""Compile the hot modules with mypyc where that is possible; else install plain Python.

Everything else about the distribution is in `pyproject.toml`.  The results are
the same either way, only the speed differs, so nothing here may fail an
installation: whatever goes wrong ends in one printed line and plain Python.

Compiling needs a C compiler, and mypy in the environment that builds
(`--no-build-isolation`, as `make setup` does).  `FRAUD_PURE=1` switches it off.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import cast

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# The one list of compiled modules; the Makefile reads it here.  A file that does not exist is left out.
HOT_MODULES = (
    "src/fraud_detection/core/features/packed.py",
    "src/fraud_detection/core/features/buckets.py",
    "src/fraud_detection/core/features/windows.py",
    "src/fraud_detection/core/features/distinct_ids.py",
    "src/fraud_detection/core/features/profile.py",
    "src/fraud_detection/core/features/geography.py",
    "src/fraud_detection/core/features/payment_extract.py",
    "src/fraud_detection/core/features/extract.py",
    "src/fraud_detection/core/features/profile_codec.py",
    "src/fraud_detection/core/features/resident_profiles.py",
    "src/fraud_detection/core/features/profile_cache.py",
    "src/fraud_detection/core/metrics.py",
    "src/fraud_detection/engine/conflicts.py",
    "src/fraud_detection/engine/decision_engine.py",
    "src/fraud_detection/engine/pipeline.py",
    "src/fraud_detection/adapters/xgboost/leaf_finder.py",
    "src/fraud_detection/adapters/sqlite/dedup/bloom_filter.py",
    "src/fraud_detection/core/parse/drift.py",
    "src/fraud_detection/core/parse/times.py",
    "src/fraud_detection/core/parse/labels.py",
    "src/fraud_detection/core/parse/values.py",
    "src/fraud_detection/core/parse/sender_notes.py",
    "src/fraud_detection/core/parse/parser.py",
)

BUILD_COMMANDS = {"build", "build_ext", "bdist_wheel", "develop", "editable_wheel"}
IN_PLACE = {"--inplace", "-i", "develop", "editable_wheel"}
# gcc on ARM fuses a multiply and an add unless told not to; compiled and plain results are equal to the bit.
# A warning that a newer compiler has learnt is no reason to run slowly.
FLAGS = ["-ffp-contract=off", "-Wno-error"]


def print_line(line: str) -> None:
    """Print one line where the person who builds sees it."""
    print(f"fraud-detection: {line}", file=sys.stderr, flush=True)


def plain(why: str) -> list[Extension]:
    """Say why nothing is compiled, and compile nothing."""
    print_line(f"not compiled ({why}); it runs as plain Python: same results, slower")
    return []


def discard_compiled(*folders: str) -> None:
    """Remove compiled modules, so that none outlives its source."""
    for folder in folders:
        for pattern in ("*.so", "*.pyd"):
            for artefact in Path(folder).rglob(pattern):
                artefact.unlink(missing_ok=True)


def has_compiler() -> bool:
    """Tell whether the C compiler this Python would call exists."""
    if sys.platform == "win32":
        return True
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return shutil.which(shlex.split(command)[0]) is not None


def hot_extensions() -> list[Extension]:
    """Translate the hot modules to C and return what is to be compiled."""
    if not BUILD_COMMANDS & set(sys.argv):
        return []
    discard_compiled("build", *(["src"] if IN_PLACE & set(sys.argv) else []))
    hot = [path for path in HOT_MODULES if Path(path).exists()]
    if os.environ.get("FRAUD_PURE") == "1":
        return plain("FRAUD_PURE=1")
    if not hot:
        return plain("no hot modules")
    if not has_compiler():
        return plain("no C compiler")
    return translate(hot)


def translate(hot: list[str]) -> list[Extension]:
    """Run mypyc over the given files."""
    try:
        from mypyc.build import mypycify  # noqa: PLC0415  (may be absent)
    except ImportError:
        return plain("mypy is not installed")
    try:
        extensions = mypycify(hot, opt_level="3", debug_level="0", group_name="fraud_detection_hot")
    except (Exception, SystemExit) as error:  # noqa: BLE001  (mypyc exits on a type error; a speed-up is optional)
        return plain(f"mypyc refused, see above: {type(error).__name__} {error}")
    if sys.platform != "win32":
        for extension in extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, *FLAGS]
    return cast("list[Extension]", extensions)


class BuildAllOrNothing(build_ext):
    """Compile every hot module, or none: half a compiled group cannot be imported."""

    def run(self) -> None:
        """Compile; after any failure go on as if there had been nothing to compile."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001  (a speed-up is optional)
            self.extensions = plain(f"the C compiler failed, see above: {type(error).__name__}")
            self.distribution.ext_modules = []
            discard_compiled("build")
        else:
            if self.extensions:
                print_line(f"compiled {', '.join(e.name for e in self.extensions)}")


setup(ext_modules=hot_extensions(), cmdclass={"build_ext": BuildAllOrNothing})
