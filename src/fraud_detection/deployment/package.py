"""The function's package: what the handler imports and nothing else, equal bytes from equal sources."""

from __future__ import annotations

import ast
import io
import platform
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.deployment.settings import Function
from fraud_detection.deployment.template.stream import BUNDLE_FOLDER, HANDLER

PACKAGE = "fraud_detection"
LIBRARIES = ("msgspec", "PyYAML")
"""What the handler needs beside botocore, which Lambda has."""
EPOCH = (1980, 1, 1, 0, 0, 0)
READABLE = 0o644 << 16
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
"""Where a statement holds other statements."""
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}


def package(bundle: Bundle, function: Function) -> bytes:
    """Return the zip; raise ConfigError when the libraries installed here would not run there."""
    check_same_machine(function, platform.system(), platform.machine(), sys.version_info[:2])
    content: dict[str, bytes] = {}
    for module, path in modules(HANDLER.rpartition(".")[0]).items():
        content[path_in_package(module, path)] = path.read_bytes()
    for library in LIBRARIES:
        content |= _library(library)
    content |= {f"{BUNDLE_FOLDER}/{name}": data for name, data in bundle.files().items()}
    return zipped(content)


def check_same_machine(function: Function, system: str, machine: str, version: tuple[int, int]) -> None:
    """Raise ConfigError unless what is installed here runs there.

    >>> check_same_machine(Function(), "Linux", "x86_64", (3, 11))
    """
    here = f"{system} {machine}, python{version[0]}.{version[1]}"
    keys = "function.runtime and function.architecture"
    check_machine(here, function.architecture, function.runtime, "function", keys)


def check_machine(here: str, architecture: str, python: str, runner: str, keys: str) -> None:
    """Raise ConfigError unless libraries of a machine run on Linux of an architecture with a Python.

    here: as "Linux x86_64, python3.11".  runner: what runs them there; keys: of the settings that say where.
    """
    wanted = f"Linux {MACHINES[architecture]}, {python}"
    if here != wanted:
        raise ConfigError(
            f"the package is made of libraries installed here ({here}), but the {runner} runs on {wanted}: "
            f"set {keys}, or deploy from such a machine"
        )


def this_machine() -> str:
    """Return the system, the processor and the Python that libraries installed here are for."""
    version = sys.version_info
    return f"{platform.system()} {platform.machine()}, python{version[0]}.{version[1]}"


def zipped(content: Mapping[str, bytes]) -> bytes:
    """Return a zip without times or owners, in the order of the names.

    >>> zipped({"b": b"2", "a": b"1"}) == zipped({"a": b"1", "b": b"2"})
    True
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = READABLE
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content[name])
    return target.getvalue()


def modules(start: str) -> dict[str, Path]:
    """Return the modules of this project that a module needs, itself among them, each with its source."""
    paths: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        path = None if module in paths else _source(module)
        if path is not None:
            paths[module] = path
            waiting += [*_parents(module), *_imports(ast.parse(path.read_text(encoding="utf-8")))]
    return dict(sorted(paths.items()))


def _parents(module: str) -> Iterator[str]:
    while (module := module.rpartition(".")[0]) != "":
        yield module


def _imports(tree: ast.AST) -> Iterator[str]:
    """Return every module of this project that is imported while running, inside functions too."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom):
            if (node.module or "").startswith(PACKAGE):
                yield str(node.module)
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGE))
        elif not _is_typing(node):
            # An import is a statement: most nodes of a tree are expressions, and none of them holds one.
            waiting += [statement for block in BLOCKS for statement in getattr(node, block, ())]


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _source(module: str) -> Path | None:
    """Return the source of a module; None for a name that is a class or a function.

    A compiled module lies beside its source; Lambda gets the source, which runs anywhere.
    """
    root = find_spec(PACKAGE)
    if root is None or root.origin is None:
        raise ConfigError(f"the package {PACKAGE} has no files here; install it from its sources")
    relative = Path(*module.split(".")[1:])
    base = Path(root.origin).parent
    for path in (base / relative / "__init__.py", (base / relative).with_suffix(".py")):
        if path.is_file():
            return path
    return None


def path_in_package(module: str, path: Path) -> str:
    """Return where a module's source is in a package.

    >>> path_in_package("fraud_detection.core", Path("core/__init__.py"))
    'fraud_detection/core/__init__.py'
    """
    parts = module.split(".")
    return "/".join([*parts, "__init__.py"] if path.name == "__init__.py" else [*parts[:-1], path.name])


def _library(name: str) -> dict[str, bytes]:
    try:
        listed = files(name)
    except PackageNotFoundError:
        raise ConfigError(f"{name} is not installed here, and the function needs it") from None
    wanted = _wanted(str(file) for file in listed or ())
    if not wanted:
        raise ConfigError(f"{name} is installed without a list of its files; install it with pip")
    located = {str(file): Path(str(file.locate())) for file in listed or ()}
    return {name: located[name].read_bytes() for name in wanted}


def _wanted(paths: Iterable[str]) -> list[str]:
    """Leave out what runs nowhere: caches, notes of the installer, types."""
    return [
        path
        for path in paths
        if not path.startswith("..")
        and ".dist-info/" not in path
        and not path.endswith((".pyc", ".pyi", "py.typed"))
    ]
