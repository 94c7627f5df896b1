"""The folder that says what is live: bundles, configurations, and an append-only log of releases.

A release is one line of `releases.jsonl`, written in one go: it is there wholly or not at all, and so a
promotion is one step for every service that follows the folder.  Each line carries the hash of the line
before and its own.  Nothing is decided here, and nothing is ever removed.
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
SEAL = b',"seal":"%b"}'
CHANGED = (
    "; somebody has changed the log: bring it back from a copy, or begin a new folder with `fraud release "
    "start --live OTHER` and start the services on that"
)


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """What answers from a moment on, and who wanted it.

    at: the time in ISO 8601.  kind: start, change, promote, canary, shadow or rollback.  champion, canary,
    shadows: names of configurations; the canary answers a `share` of the cards, which `salt` chooses.
    restores: the number of the release whose champion and canary this one brings back.  evidence: what the
    gate found, as a file in the folder, and the hash of it.  before: hash of the line before.  seal: hash of
    this line without it; lines of before have none.
    """

    number: int
    at: str
    kind: str
    by: str
    reason: str
    champion: str
    canary: str = ""
    share: float = 0.0
    salt: str = ""
    shadows: tuple[str, ...] = ()
    restores: int = 0
    evidence: str = ""
    evidence_hash: str = ""
    before: str = ""
    seal: str = ""


class ServiceReport(msgspec.Struct, frozen=True):
    """What a service says of itself.

    release: the number of the release that it answers by.  at: when it said so, in seconds since 1970.
    state: its state file.  problem: why it could not follow a later release.
    """

    name: str
    pid: int
    release: int
    at: float
    state: str
    problem: str = ""


class LiveFolder:
    """One folder, which any number of processes read and one at a time writes."""

    def __init__(self, path: Path) -> None:
        """Take a folder; it is made when something is first put into it."""
        self.path = path

    def stamp(self) -> tuple[int, int, int]:
        """Return what changes whenever there is another release; cheap enough to ask all the time."""
        try:
            found = (self.path / LOG).stat()
        except FileNotFoundError:
            return (0, 0, 0)
        # A log that is mended in its place may have the size of before.
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def releases(self) -> list[Release]:
        """Return all releases, the first first; raise ConfigError where the log was tampered with.

        A last line without an end was not finished by a process that was killed: it is no release.
        """
        found: list[Release] = []
        before, sealed = "", False
        for number, line in enumerate(self._lines(), 1):
            place = f"{self.path / LOG}: line {number}"
            try:
                release = msgspec.json.decode(line, type=Release)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ConfigError(f"{place} is no release: {error}{CHANGED}") from None
            if (release.number, release.before) != (number, before):
                raise ConfigError(f"{place} does not follow the line before it{CHANGED}")
            # Whoever takes a seal away would else make it a line of before.
            sealed = sealed or bool(release.seal)
            if sealed and not _is_sealed(line, release.seal):
                raise ConfigError(f"{place} is not as it was written: its hash is another{CHANGED}")
            found.append(release)
            before = _hash(line)
        return found

    def latest(self) -> Release | None:
        """Return what is live, None where nothing ever was."""
        releases = self.releases()
        return releases[-1] if releases else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let nobody else release anything meanwhile; raise ConfigError when somebody does."""
        make_folder(self.path)
        lock = FileLock(self.path / LOG, "is releasing something here; wait for it")
        try:
            yield
        finally:
            if not os.fstat(lock.fd).st_size:
                # It was made to be locked, and nothing was released.
                lock.path.unlink(missing_ok=True)
            lock.release()

    def add(self, release: Release) -> Release:
        """Append a release, with its number and the hash before it, and return it; inside `writing`."""
        lines = list(self._lines())
        before = _hash(lines[-1]) if lines else ""
        evidence = _hash((self.path / release.evidence).read_bytes()) if release.evidence else ""
        numbered = _sealed(
            msgspec.structs.replace(release, number=len(lines) + 1, before=before, evidence_hash=evidence)
        )
        whole = sum(len(line) + 1 for line in lines)
        with append_to(check_target(self.path / LOG)) as log:
            log.truncate(whole)
            log.write(msgspec.json.encode(numbered) + b"\n")
            log.flush()
            os.fsync(log.fileno())
        return numbered

    def keep_bundle(self, bundle: Bundle) -> Path:
        """Keep a bundle under its name; return where it is."""
        path = self.bundle_path(bundle.name)
        if not path.exists():
            _put(path, pack(bundle.files()))
        return path

    def bundle_path(self, name: str) -> Path:
        """Return where the bundle of that name is kept."""
        return self.path / "bundles" / f"{_checked(name)}{SUFFIX}"

    def bundle(self, name: str) -> Bundle:
        """Read a kept bundle."""
        return read_bundle(self.bundle_path(name))

    def keep_configuration(self, name: str, content: bytes) -> None:
        """Keep the content of a configuration under its name."""
        path = self._configuration_path(name)
        if not path.exists():
            _put(path, content)

    def configuration(self, name: str) -> bytes:
        """Return the content of a configuration; raise ConfigError when it is not kept here."""
        try:
            return self._configuration_path(name).read_bytes()
        except FileNotFoundError:
            raise ConfigError(
                f"{self._configuration_path(name)}: no such configuration is kept here"
            ) from None

    def keep_evidence(self, name: str, content: bytes) -> str:
        """Keep what a gate found; return its path in the folder."""
        # A second one of that name is another file: a release may have named the first.
        path = self.path / "evidence" / f"{_checked(name)}-{_hash(content)[:8]}.json"
        _put(path, content)
        return str(path.relative_to(self.path))

    def evidence_problem(self, release: Release) -> str:
        """Say that the evidence of a release is not as it was; empty where it is, or has no hash."""
        if not release.evidence_hash:
            return ""
        path = self.path / release.evidence
        try:
            found = _hash(path.read_bytes())
        except OSError as error:
            return f"{path}: the evidence of release {release.number} cannot be read: {error}"
        if found == release.evidence_hash:
            return ""
        return f"{path}: is not what the gate found for release {release.number}: its hash is another"

    def report(self, report: ServiceReport) -> None:
        """Let a service say what it answers by."""
        _put(self.path / "services" / f"{_checked(report.name)}.json", msgspec.json.encode(report))

    def withdraw(self, name: str) -> None:
        """Let a service say that it answers no more."""
        (self.path / "services" / f"{_checked(name)}.json").unlink(missing_ok=True)

    def services(self) -> list[ServiceReport]:
        """Return what the services of this machine say that are still alive."""
        found = []
        for path in sorted((self.path / "services").glob("*.json")):
            report = _report_in(path)
            if report is not None and _is_alive(report.pid):
                found.append(report)
        return found

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
    """Return the report of a service; None where it has withdrawn meanwhile, or the file is no report."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServiceReport)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # It is written anew with the next release; nobody shall be kept from releasing by it.
        words = "%s: is no report of a server, and is passed over: %s"
        LOGGER.warning(words, path, error, extra={"event": "report_unreadable"})
        return None


def _hash(line: bytes) -> str:
    return hashlib.blake2b(line, digest_size=16).hexdigest()


def _sealed(release: Release) -> Release:
    plain = msgspec.structs.replace(release, seal="")
    return msgspec.structs.replace(plain, seal=_hash(msgspec.json.encode(plain)))


def _is_sealed(line: bytes, seal: str) -> bool:
    """Tell whether a line is, to the byte, what its seal was made over."""
    end = SEAL % seal.encode()
    return line.endswith(end) and _hash(line.removesuffix(end) + b"}") == seal


def _put(path: Path, content: bytes) -> None:
    """Write a file wholly or not at all."""
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
