"""Read and write bundles as a directory and as a tar.gz; equal bundles give equal bytes.

Nothing is ever unpacked to disk: an archive is read in memory, from names on a
fixed list, so a hostile one can neither write nor fill anything.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.core.score.bundle import CONTENTS, MANIFEST, Bundle, from_files

SUFFIX = ".tar.gz"
MAX_BYTES = 512 * 1024 * 1024
"""Bytes; a bundle is some megabytes, so more is an attack or a mistake."""


def read_bundle(path: Path) -> Bundle:
    """Read a directory or a .tar.gz; raise ConfigError for whatever is not a whole, unchanged bundle."""
    if path.is_dir():
        return from_files(_from_directory(path), str(path))
    if path.is_file():
        return from_files(unpack(path.read_bytes(), str(path)), str(path))
    raise ConfigError(f"{path}: no such bundle; make one with `fraud train`")


def write_bundle(bundle: Bundle, directory: Path) -> Path:
    """Write the directory and, next to it, the archive; return the archive's path.

    An existing bundle is replaced; anything else is left alone and refused.
    """
    check_bundle_target(directory)
    fresh = directory.with_name(directory.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, data in bundle.files().items():
        (fresh / name).write_bytes(data)
    if directory.exists():
        shutil.rmtree(directory)
    fresh.rename(directory)
    return _write_archive(bundle, directory.with_name(directory.name + SUFFIX))


def evaluated_bundle(folder: Path, bundle: Bundle) -> Path | None:
    """Return where in a folder the evaluated bundle of this refitted one is.

    None where it was not refitted, or the other is not there.
    """
    evaluated = bundle.manifest.evaluated_as
    path = None if evaluated is None else folder / evaluated
    return path if path is not None and path.is_dir() else None


def pack(files: dict[str, bytes]) -> bytes:
    """Return a tar.gz without times, owners or paths of the machine that made it.

    >>> pack({"a": b"1"}) == pack({"a": b"1"})
    True
    """
    target = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def unpack(data: bytes, origin: str, limit: int = MAX_BYTES) -> dict[str, bytes]:
    """Return the files of an archive, read in memory; raise ConfigError for anything unusual in it."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_unzipped(data, origin, limit)), mode="r:") as tar:
            for entry in tar:
                _check_entry(entry, files, origin)
                stream = tar.extractfile(entry)
                files[entry.name] = stream.read() if stream else b""
    except tarfile.TarError as error:
        raise ConfigError(f"{origin}: is not a readable .tar.gz: {error}") from None
    return files


def _unzipped(data: bytes, origin: str, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as zipped:
            plain = zipped.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{origin}: is not a readable .tar.gz: {error}") from None
    if len(plain) > limit:
        raise ConfigError(f"{origin}: unpacks to more than {limit} bytes; refused")
    return plain


def _check_entry(entry: tarfile.TarInfo, seen: dict[str, bytes], origin: str) -> None:
    if entry.name != PurePosixPath(entry.name).name or entry.name == ".." or not entry.isfile():
        raise ConfigError(f"{origin}: holds {entry.name!r}, which is not a plain file at its top; refused")
    if entry.name in seen:
        raise ConfigError(f"{origin}: holds {entry.name!r} twice; refused")


def _from_directory(path: Path) -> dict[str, bytes]:
    # Only names are looked at first, so that a huge stranger is refused without being read.
    names = sorted(entry.name for entry in path.iterdir())
    known = {MANIFEST, *CONTENTS}
    return {name: _read(path / name) if name in known else b"" for name in names}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def check_bundle_target(directory: Path) -> Path:
    """Return the directory if a bundle may be written there; raise ConfigError otherwise."""
    check_target(directory)
    check_target(directory.with_name(directory.name + SUFFIX))
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory}: is a file; name a directory for the bundle")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise ConfigError(f"{directory}: holds something that is not a bundle; name another directory")
    return directory


def _write_archive(bundle: Bundle, path: Path) -> Path:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(pack(bundle.files()))
    fresh.replace(path)
    return path
