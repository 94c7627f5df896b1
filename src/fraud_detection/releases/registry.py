"""Release registry: a folder of bundles and configurations, and an append-only log of releases.

A release is one line of `releases.jsonl`, appended in one write: it exists as a whole or not at all, so every
service that follows the registry switches in one step.  Each line carries the hash of the previous line and a
checksum of its own.  Nothing is decided here, and nothing is ever removed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.file_lock import FileLock
from fraud_detection.adapters.host.private_files import append_to, make_folder, write_to
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.core.score.archive import SUFFIX, pack, read_bundle
from fraud_detection.core.score.bundle import Bundle

LOGGER = logging.getLogger(__name__)
LOG = "releases.jsonl"
NAME = re.compile(r"[\w.-]{1,100}")
CHECKSUM = b',"checksum":"%b"}'
TAMPERED = (
    "; the log was tampered with: restore it from a backup, or begin a new registry with `fraud release "
    "start --registry OTHER` and start the services on that"
)


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release: the configurations that decide from then on, its author and its reason.

    at: time, ISO 8601.  kind: start, change, promote, canary, shadow or rollback.  champion, canary,
    shadows: ids of configurations; the canary decides for `canary_share` of the cards, chosen by `salt`.
    reverts_to: number of the release whose champion and canary a rollback restores.  evidence: file in the
    registry with the result of the gate; evidence_hash: its hash.  previous_hash: hash of the previous line.
    checksum: hash of this line without the checksum; empty on lines of older versions.
    """

    number: int
    at: str
    kind: str
    by: str
    reason: str
    champion: str
    canary: str = ""
    canary_share: float = 0.0
    salt: str = ""
    shadows: tuple[str, ...] = ()
    reverts_to: int = 0
    evidence: str = ""
    evidence_hash: str = ""
    previous_hash: str = ""
    checksum: str = ""


class ServiceReport(msgspec.Struct, frozen=True):
    """Status that a service reports about itself.

    release: number of the release that it decides by.  at: time of the report, seconds since 1970.
    state: its state file.  problem: why it could not load a later release; empty where it could.
    """

    name: str
    pid: int
    release: int
    at: float
    state: str
    problem: str = ""


class ReleaseRegistry:
    """A folder that any number of processes read and one at a time writes."""

    def __init__(self, path: Path) -> None:
        """Use a folder; it is created by the first write."""
        self.path = path

    def version(self) -> tuple[int, int, int]:
        """Return a value that differs after every new release; cheap enough to poll."""
        try:
            status = (self.path / LOG).stat()
        except FileNotFoundError:
            return (0, 0, 0)
        # A log that was repaired in place may have the same size.
        return (status.st_ino, status.st_size, status.st_mtime_ns)

    def releases(self) -> list[Release]:
        """Return all releases, oldest first; raise ConfigError where the log was tampered with.

        A last line without a newline was left by a killed process: it is no release.
        """
        releases: list[Release] = []
        previous_hash, has_checksums = "", False
        for number, line in enumerate(self._lines(), 1):
            where = f"{self.path / LOG}: line {number}"
            try:
                release = msgspec.json.decode(line, type=Release)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ConfigError(f"{where} is no release: {error}{TAMPERED}") from None
            if (release.number, release.previous_hash) != (number, previous_hash):
                raise ConfigError(f"{where} does not follow the previous line{TAMPERED}")
            # Otherwise a line could be forged as one of an older version by removing its checksum.
            has_checksums = has_checksums or bool(release.checksum)
            if has_checksums and not _has_checksum(line, release.checksum):
                raise ConfigError(f"{where} is not as it was written: its checksum does not match{TAMPERED}")
            releases.append(release)
            previous_hash = _hash(line)
        return releases

    def latest(self) -> Release | None:
        """Return the current release, None in an empty registry."""
        releases = self.releases()
        return releases[-1] if releases else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock of the registry; raise ConfigError while another process holds it."""
        make_folder(self.path)
        lock = FileLock(self.path / LOG, "is writing a release here; wait for it")
        try:
            yield
        finally:
            if not os.fstat(lock.fd).st_size:
                # The file was created only to be locked.
                lock.path.unlink(missing_ok=True)
            lock.release()

    def add(self, release: Release) -> Release:
        """Append a release with its number and hashes, and return it; call inside `writing`."""
        lines = list(self._lines())
        previous_hash = _hash(lines[-1]) if lines else ""
        evidence = _hash((self.path / release.evidence).read_bytes()) if release.evidence else ""
        numbered = _with_checksum(
            msgspec.structs.replace(
                release, number=len(lines) + 1, previous_hash=previous_hash, evidence_hash=evidence
            )
        )
        complete = sum(len(line) + 1 for line in lines)
        with append_to(check_target(self.path / LOG)) as log:
            log.truncate(complete)
            log.write(msgspec.json.encode(numbered) + b"\n")
            log.flush()
            os.fsync(log.fileno())
        return numbered

    def store_bundle(self, bundle: Bundle) -> Path:
        """Store a bundle under its name; return its path."""
        path = self.bundle_path(bundle.name)
        if not path.exists():
            _put(path, pack(bundle.files()))
        return path

    def bundle_path(self, name: str) -> Path:
        """Return the path of the bundle of that name."""
        return self.path / "bundles" / f"{_checked(name)}{SUFFIX}"

    def bundle(self, name: str) -> Bundle:
        """Read a stored bundle."""
        return read_bundle(self.bundle_path(name))

    def store_configuration(self, name: str, content: bytes) -> None:
        """Store the content of a configuration under its name."""
        path = self._configuration_path(name)
        if not path.exists():
            _put(path, content)

    def configuration(self, name: str) -> bytes:
        """Return the content of a configuration; raise ConfigError when it is not stored here."""
        try:
            return self._configuration_path(name).read_bytes()
        except FileNotFoundError:
            raise ConfigError(
                f"{self._configuration_path(name)}: no such configuration is stored here"
            ) from None

    def store_evidence(self, name: str, content: bytes) -> str:
        """Store the result of a gate; return its path relative to the registry."""
        # Other content under the same name gets another file: a release may refer to the first.
        path = self.path / "evidence" / f"{_checked(name)}-{_hash(content)[:8]}.json"
        _put(path, content)
        return str(path.relative_to(self.path))

    def evidence_problem(self, release: Release) -> str:
        """Return how the evidence of a release was changed; empty where it is intact or has no hash."""
        if not release.evidence_hash:
            return ""
        path = self.path / release.evidence
        try:
            actual = _hash(path.read_bytes())
        except OSError as error:
            return f"{path}: the evidence of release {release.number} cannot be read: {error}"
        if actual == release.evidence_hash:
            return ""
        return f"{path}: is not the evidence that release {release.number} refers to: its hash does not match"

    def report(self, report: ServiceReport) -> None:
        """Write the status of a service."""
        _put(self.path / "services" / f"{_checked(report.name)}.json", msgspec.json.encode(report))

    def withdraw(self, name: str) -> None:
        """Remove the status of a service that stops."""
        (self.path / "services" / f"{_checked(name)}.json").unlink(missing_ok=True)

    def services(self) -> list[ServiceReport]:
        """Return the status of every service of this machine that is still running."""
        reports = []
        for path in sorted((self.path / "services").glob("*.json")):
            report = _report_in(path)
            if report is not None and _is_alive(report.pid):
                reports.append(report)
        return reports

    def _lines(self) -> Iterator[bytes]:
        try:
            content = (self.path / LOG).read_bytes()
        except FileNotFoundError:
            return
        *lines, _ = content.split(b"\n")
        yield from lines

    def _configuration_path(self, name: str) -> Path:
        return self.path / "configurations" / f"{_checked(name)}.json"


def _report_in(path: Path) -> ServiceReport | None:
    """Return the report in a file; None where it was withdrawn meanwhile or cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServiceReport)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The service rewrites it with the next release; it must not block one.
        message = "%s: is no report of a service, ignored: %s"
        LOGGER.warning(message, path, error, extra={"event": "report_unreadable"})
        return None


def _hash(line: bytes) -> str:
    return hashlib.blake2b(line, digest_size=16).hexdigest()


def _with_checksum(release: Release) -> Release:
    plain = msgspec.structs.replace(release, checksum="")
    return msgspec.structs.replace(plain, checksum=_hash(msgspec.json.encode(plain)))


def _has_checksum(line: bytes, checksum: str) -> bool:
    """Return whether a checksum is that of exactly these bytes."""
    end = CHECKSUM % checksum.encode()
    return line.endswith(end) and _hash(line.removesuffix(end) + b"}") == checksum


def _put(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    make_folder(path.parent)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with write_to(fresh) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _checked(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise ConfigError(f"{name!r} cannot be the name of a file")
    return name


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
