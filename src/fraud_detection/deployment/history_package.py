"""The package of a history job: the modules it needs and their libraries, as they are installed here.

They are installed from a lock with hashes, and each file is compared with the hash that its wheel states, so
what runs on the cluster is what runs here.  Equal files make an equal package.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import msgspec

from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.package import (
    PACKAGE,
    check_machine,
    modules,
    path_in_package,
    this_machine,
    zipped,
)
from fraud_detection.deployment.release import PREFIX
from fraud_detection.deployment.settings import History

ENTRY = "fraud_detection.training.history_job.job"
MAIN = f'from {ENTRY} import main\n\nif __name__ == "__main__":\n    main()\n'.encode()
LIBRARIES = (
    "botocore",
    "jmespath",
    "librt",
    "msgspec",
    "mypy-extensions",
    "numpy",
    "pandas",
    "pyarrow",
    "python-dateutil",
    "PyYAML",
    "six",
    "urllib3",
)
"""What the job needs beside pyspark and its own modules: pandas for pyspark, and what these need."""
LEFT_OUT = re.compile(
    r"\.\./|[^/]+\.dist-info/|.*(\.pyc|\.pyi|\.pxd|\.pyx|\.h|\.hpp|py\.typed)$"
    r"|(numpy|pandas|pyarrow)/(.+/)?(tests|include|src)/"
    # AWS's descriptions of several hundred services, of which the job calls one.
    r"|botocore/data/(?!s3/|sts/|[^/]+$)"
)
GLIBC = 34
"""Minor version of the C library of Amazon Linux 2023, on which EMR's releases with Spark 4 are built."""
NEEDED_GLIBC = re.compile(rb"GLIBC_2\.(\d+)")


class JobPackage(msgspec.Struct, frozen=True):
    """Files of a package by their paths in it.

    key: of the object that it becomes, which names its content.  compiled: whether hot modules are.
    """

    key: str
    files: Mapping[str, Path]
    compiled: bool

    def content(self) -> bytes:
        """Return the zip."""
        return zipped({name: path.read_bytes() for name, path in self.files.items()})


def job_package(chosen: History) -> JobPackage:
    """Return the package for an application; raise ConfigError where it would not run there."""
    keys = "history.python and history.architecture"
    check_machine(this_machine(), chosen.architecture, chosen.python, "history application", keys)
    own = {path_in_package(module, path): path for module, path in modules(ENTRY).items()}
    compiled = dict(_compiled(own))
    if not all(_runs_there(path.read_bytes()) for path in compiled.values()):
        compiled = {}
    files = own | compiled | _data(own)
    for name in LIBRARIES:
        files |= _library(name)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return JobPackage(f"{PREFIX}history-{digest.hexdigest()[:16]}.zip", files, bool(compiled))


def _compiled(own: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield the compiled forms of modules, and the library that they share."""
    suffix = EXTENSION_SUFFIXES[0]
    for name, path in own.items():
        if (form := path.with_name(f"{path.stem}{suffix}")).is_file():
            yield f"{name.removesuffix('.py')}{suffix}", form
    package = own[f"{PACKAGE}/__init__.py"].parent
    yield from ((form.name, form) for form in package.parent.glob(f"{PACKAGE}*{suffix}"))


def _data(own: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that modules read, which lie beside them."""
    found: dict[str, Path] = {}
    for name, path in own.items():
        if path.name == "__init__.py":
            folder = name.rpartition("/")[0]
            found |= {f"{folder}/{file.name}": file for file in path.parent.glob("*.properties")}
    return found


def _runs_there(library: bytes) -> bool:
    """Return whether a library needs no newer C library than the cluster has."""
    return all(int(minor) <= GLIBC for minor in NEEDED_GLIBC.findall(library))


def _library(name: str) -> dict[str, Path]:
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        raise ConfigError(
            f"{name} is not installed here, and the job needs it: install what requirements/all.lock lists"
        ) from None
    return dict(_verified(name, installed))


def _verified(name: str, installed: Distribution) -> Iterator[tuple[str, Path]]:
    """Yield the files of a library, compared with the hashes that its wheel states."""
    files = [file for file in installed.files or () if not LEFT_OUT.match(str(file))]
    if not files:
        raise ConfigError(f"{name} is installed without a list of its files; install it with pip")
    for file in files:
        path = Path(str(file.locate()))
        if file.hash is None or _hash(path, file.hash.mode) != file.hash.value:
            raise ConfigError(
                f"{path}: was changed since {name} {installed.version} was installed; install it again"
            )
        yield str(file), path


def _hash(path: Path, kind: str) -> str:
    """Return the hash of a file as wheels write it."""
    with path.open("rb") as file:
        return base64.urlsafe_b64encode(hashlib.file_digest(file, kind).digest()).rstrip(b"=").decode()
