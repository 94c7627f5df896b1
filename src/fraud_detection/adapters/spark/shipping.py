"""The code of this installation for the machines of a cluster, which have another one or none.

A task has to run the very code that started the job: other code would make other features, and would say
nothing of it.  The machines bring Python of the same minor version, with numpy, pandas and pyarrow.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fraud_detection.core.errors import ConfigError

FOLDER = "fraud-detection-code"
"""Below the working folder of an executor."""
LIBRARIES = ("msgspec", "librt", "mypy-extensions")
"""What the package needs and a Python with pyspark does not have."""
LEFT_OUT = ("__pycache__", "tests")


def code_archive(path: Path) -> Path:
    """Write the package, its compiled modules and the libraries that it needs into a zip.

    Raises ConfigError where a library has no list of its files.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(_files()):
            archive.write(file, name)
    return path


def archive_settings(archive: Path) -> Mapping[str, str]:
    """Return the settings by which executors unpack the archive and find the modules in it."""
    return {"spark.archives": f"{archive}#{FOLDER}", "spark.executorEnv.PYTHONPATH": FOLDER}


def _files() -> Iterator[tuple[str, Path]]:
    """Yield the files by their names in the archive."""
    package = Path(__file__).parents[2]
    compiled = package.parent.glob(f"{package.name}*__mypyc*")
    for file in (*package.rglob("*"), *compiled):
        if file.is_file() and not set(LEFT_OUT) & set(file.parts[len(package.parts) :]):
            yield str(file.relative_to(package.parent)), file
    for library in LIBRARIES:
        yield from _library(library)


def _library(name: str) -> Iterator[tuple[str, Path]]:
    try:
        files = distribution(name).files
    except PackageNotFoundError:
        files = None
    if not files:
        raise ConfigError(f"{name} is installed without a list of its files; install it with pip")
    for file in files:
        if ".." not in file.parts and not set(LEFT_OUT) & set(file.parts):
            yield str(file), Path(str(file.locate()))
