"""Measure how a checkout is built: packages and their imports, sizes, swallowed errors, wheel, start.

    python -m benchmarks.structure [ROOT] [--trace] [--suite] [--verbose] [--json]

ROOT is any checkout of this project, by default the one that this file is part of; its libraries are those of
the Python that runs this.  Nothing but bytecode is written there.

How things are counted:

- Packages, their dependencies and the depth as `package_graph` says, in two ways.
- A function's lines are those from `def` to its end, with the docstring and without decorators; a module's
  lines are all of its file.  The 90th percentile is a value that occurs: nine tenths are no larger.
- An error is swallowed by an `except` that does nothing but `pass`, `...` or `continue`; counted per thousand
  lines of `src/fraud_detection`.  `contextlib.suppress` stands beside it.  To return a value is an answer.
- The wheel is built, without compiling; lines are those of its `.py` files.  `--help` is the median of
  several processes: by the clock, and of the processor, which other work hardly changes.
- Pages are the Markdown files of `docs`.
- Banned words are counted by `tools.banned_words`, with the list of this checkout.

`--trace` adds what `benchmarks.payment_trace` of that checkout finds, on a copy without compiled modules.
`--suite` runs `make test` in the checkout and adds its seconds by the clock, all set-up included.
`--verbose` prints the way of each payment, move by move, and nothing else.
"""

from __future__ import annotations

import argparse
import ast
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.package_graph import PACKAGE, Imports, import_figures
from tools.banned_words import banned_words, hits

HERE = Path(__file__).resolve().parents[1]
STARTS = 9
COPIED = ("src", "tests", "benchmarks", "tools", "setup.py", "pyproject.toml", "LICENSE")
Trace = dict[str, dict[str, dict[str, int]]]


class Sizes(msgspec.Struct, frozen=True):
    """Of the sources, in lines.  largest_package: modules without `__init__`."""

    lines: int
    largest_package: str
    largest_package_modules: int
    functions_p90: int
    modules_p90: int
    swallowed_errors: int
    swallowed_per_thousand_lines: float
    suppressed: int


class Figures(msgspec.Struct, frozen=True, omit_defaults=True):
    """All figures of a checkout.

    trace: as `benchmarks.payment_trace` measures it.  suite_seconds: of `make test`.
    """

    imports: dict[str, Imports]
    sizes: Sizes
    wheel_lines: int
    help_seconds: float
    help_cpu_seconds: float
    docs_pages: int
    banned_words: int
    trace: Trace | None = None
    suite_seconds: float | None = None


def size_figures(folder: Path) -> Sizes:
    """Measure the sources in a folder."""
    texts = {path: path.read_text() for path in sorted(folder.rglob("*.py"))}
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    nodes = [node for text in texts.values() for node in ast.walk(ast.parse(text))]
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    modules = Counter(path.parent for path in texts if path.stem != "__init__")
    (largest, count), total = modules.most_common(1)[0], sum(lines.values())
    swallowed = sum(
        isinstance(node, ast.ExceptHandler) and all(map(_is_nothing, node.body)) for node in nodes
    )
    return Sizes(
        lines=total,
        largest_package=largest.relative_to(folder).as_posix(),
        largest_package_modules=count,
        functions_p90=percentile_90(functions),
        modules_p90=percentile_90(lines.values()),
        swallowed_errors=swallowed,
        swallowed_per_thousand_lines=round(1000 * swallowed / total, 2),
        suppressed=sum(isinstance(node, ast.withitem) and _suppresses(node.context_expr) for node in nodes),
    )


def percentile_90(values: Iterable[int]) -> int:
    """Return the least of the values that nine tenths of them do not exceed.

    >>> percentile_90(range(1, 11))
    9
    """
    ordered = sorted(values)
    return ordered[-(-len(ordered) * 9 // 10) - 1]


def _is_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass | ast.Continue)


def _suppresses(context: ast.expr) -> bool:
    return isinstance(context, ast.Call) and ast.unparse(context.func).endswith("suppress")


def wheel_lines(copy: Path) -> int:
    """Build the wheel of a copy of a checkout and count the lines of its Python files."""
    pip = (
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    )
    _run(copy, *pip, "--no-index", "--wheel-dir", "wheel", ".")
    (path,) = (copy / "wheel").glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        return sum(len(wheel.read(name).splitlines()) for name in wheel.namelist() if name.endswith(".py"))


def help_seconds(root: Path) -> tuple[float, float]:
    """Return the median time of `fraud --help` as a process of its own, and of the processor for it."""
    script = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]["fraud"]
    module, _, function = script.partition(":")
    start = f"import sys; from {module} import {function}; sys.exit({function}())"
    times = [_spent(lambda: _run(root, "-c", start, "--help")) for _ in range(STARTS)]
    wall, processor = (round(statistics.median(seconds), 3) for seconds in zip(*times, strict=True))
    return wall, processor


def _spent(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that passed while children did some work, and those of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    passed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def trace(copy: Path) -> Trace:
    """Return what a copy's own trace of a payment measures: another checkout has other names."""
    return msgspec.json.decode(_run(copy, "-m", "benchmarks.payment_trace", "--json"), type=Trace)


def _run(root: Path, *arguments: str) -> bytes:
    """Run Python on a checkout, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "FRAUD_PURE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603


def copied(root: Path, folder: Path) -> Path:
    """Copy the sources of a checkout without what was compiled or built."""
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.egg-info")
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=ignored)
        elif (root / name).exists():
            shutil.copy(root / name, folder / name)
    return folder


def suite_seconds(root: Path) -> float:
    """Run `make test` in a checkout; raise CalledProcessError where it fails."""
    start = time.monotonic()
    subprocess.run(["make", "test"], cwd=root, check=True, stdout=sys.stderr)  # noqa: S607
    return round(time.monotonic() - start, 1)


def measure(root: Path, copy: Path, *, traced: bool, suite: bool) -> Figures:
    """Measure a checkout, of which `copy` is a copy without compiled modules."""
    wall, processor = help_seconds(root)
    return Figures(
        imports=import_figures(root / "src"),
        sizes=size_figures(root / "src" / PACKAGE),
        wheel_lines=wheel_lines(copy),
        help_seconds=wall,
        help_cpu_seconds=processor,
        docs_pages=sum(1 for _ in (root / "docs").rglob("*.md")),
        banned_words=sum(1 for _ in hits(root, banned_words(HERE))),
        trace=trace(copy) if traced else None,
        suite_seconds=suite_seconds(root) if suite else None,
    )


def rows(figures: object, name: str = "") -> Iterator[str]:
    """Yield one line a figure."""
    if isinstance(figures, dict):
        for key, value in figures.items():
            yield from rows(value, f"{name} {key}".strip())
    else:
        value = " > ".join(figures) if isinstance(figures, list) else figures
        yield f"{name.replace('_', ' '):40} {value}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, nargs="?", default=HERE, help="a checkout [this one]")
    parser.add_argument("--trace", action="store_true", help="trace a payment through each way of serving")
    parser.add_argument("--suite", action="store_true", help="time `make test`")
    parser.add_argument("--verbose", action="store_true", help="print the way of each payment alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(chosen.root.resolve(), Path(folder).resolve())
        if chosen.verbose:
            print(_run(copy, "-m", "benchmarks.payment_trace", "--verbose").decode())
            return
        figures = measure(chosen.root.resolve(), copy, traced=chosen.trace, suite=chosen.suite)
    if chosen.json:
        print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    else:
        print("\n".join(rows(msgspec.to_builtins(figures))))


if __name__ == "__main__":
    main()
