"""API keys with roles and rate limits, stored as digests."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta

from fraud_detection.adapters.host.file_lock import FileLock
from fraud_detection.adapters.host.private_files import write_to
from fraud_detection.core.decoding import Settings, decode
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.events import ANYBODY, Sender
from fraud_detection.core.file_targets import check_target
from fraud_detection.project.yaml_file import read_yaml

Role = Literal["decide", "read", "label", "operate"]
ROLES: tuple[Role, ...] = ("decide", "read", "label", "operate")
ADVICE = "make a key with `fraud api-key NAME --roles decide,read`"
KEY_BYTES = 24
NAME = "^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$"
"""The name of a key stands in logs, metrics and the rows that its owner sent."""
KeyName = Annotated[str, Meta(pattern=NAME)]


class Key(Settings, frozen=True):
    """A stored key.

    sha256: of the key, in hexadecimal digits.  roles: decide payments, read decisions, send labels, operate
    (metrics).  per_second: events at most, with as many at once; null is no limit.
    """

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    roles: tuple[Role, ...]
    per_second: Annotated[float, Meta(gt=0)] | None = None


class Caller:
    """A key in use, with its remaining allowance; `sender` is recorded with each event it sends."""

    def __init__(self, name: str, key: Key, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a full allowance."""
        self.name, self.roles = name, frozenset(key.roles)
        self.sender = Sender(name, may_decide="decide" in key.roles, may_label="label" in key.roles)
        self._key, self._per_second, self._clock = key, key.per_second, clock
        self._allowance = _Allowance(key.per_second or 0.0, clock())

    @property
    def is_rate_limited(self) -> bool:
        """Return whether there is a rate limit."""
        return self._per_second is not None

    def share(self, of: int) -> Caller:
        """Return the same caller with one part of so many of its rate, counted by itself.

        >>> caller = Caller("till", Key(sha256="0" * 64, roles=("decide",), per_second=4.0), lambda: 0.0)
        >>> share = caller.share(2)
        >>> share.spend(2), share.spend(1), caller.spend(4)
        (0.0, 0.5, 0.0)
        """
        rate = None if self._per_second is None else self._per_second / of
        return Caller(self.name, msgspec.structs.replace(self._key, per_second=rate), self._clock)

    def spend(self, events: int) -> float:
        """Take events from the allowance; return 0, or how many seconds too early they come.

        >>> now = [0.0]
        >>> caller = Caller("till", Key(sha256="0" * 64, roles=("decide",), per_second=2.0), lambda: now[0])
        >>> caller.spend(2), caller.spend(1)
        (0.0, 0.5)
        """
        if self._per_second is None:
            return 0.0
        now, allowance = self._clock(), self._allowance
        allowance.left = min(self._per_second, allowance.left + (now - allowance.at) * self._per_second)
        allowance.at = now
        # A list longer than a second's allowance is taken when the allowance is full, and owed.
        if allowance.left < min(events, self._per_second):
            return (min(events, self._per_second) - allowance.left) / self._per_second
        allowance.left -= events
        return 0.0

    def changed(self, key: Key) -> Caller:
        """Return the same caller with another entry of the file; its used allowance stays counted.

        >>> caller = Caller("till", Key(sha256="0" * 64, roles=("decide",), per_second=4.0), lambda: 0.0)
        >>> caller.spend(3), caller.changed(Key(sha256="1" * 64, roles=("read",), per_second=2.0)).spend(2)
        (0.0, 0.5)
        """
        if key == self._key:
            return self
        caller = Caller(self.name, key, self._clock)
        if self._per_second is not None:
            caller._allowance = self._allowance
        return caller


class _Allowance:
    """What is left of a rate, at a time."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left, self.at = left, at


class Access:
    """Knows the callers; without keys everybody may do everything, which only fits a loopback address."""

    def __init__(self, keys: dict[str, Key] | None) -> None:
        """Take the keys by name; None means that none are required."""
        self._open = None
        if keys is None:
            self._open = Caller("anybody", Key(sha256="0" * 64, roles=ROLES))
            # There is no caller name to store.
            self._open.sender = ANYBODY
        self._by_digest = {key.sha256: Caller(name, key) for name, key in (keys or {}).items()}

    def replace(self, keys: dict[str, Key]) -> dict[str, list[str]]:
        """Know these keys from now on; return the names that were added, changed and revoked."""
        previous = {caller.name: caller for caller in self._by_digest.values()}
        known = {
            name: previous[name].changed(key) if name in previous else Caller(name, key)
            for name, key in keys.items()
        }
        # One assignment: a request in another thread sees either the old keys or the new.
        self._by_digest = {keys[name].sha256: caller for name, caller in known.items()}
        changes = {
            "added": [name for name in known if name not in previous],
            "changed": [name for name in known if name in previous and known[name] is not previous[name]],
            "revoked": [name for name in previous if name not in known],
        }
        return {what: names for what, names in changes.items() if names}

    def caller(self, authorization: str) -> Caller | None:
        """Return the caller of `Bearer KEY`; None for an unknown key."""
        if self._open is not None:
            return self._open
        scheme, _, key = authorization.partition(" ")
        # The digest is looked up, not the key: so that its duration reveals nothing about a key.
        return self._by_digest.get(digest(key.strip())) if scheme.lower() == "bearer" else None

    def named(self, name: str) -> Caller:
        """Return the caller of that name; raise RetryError where the other worker has newer keys."""
        caller = next((known for known in self._by_digest.values() if known.name == name), None)
        if caller is None:
            raise RetryError(f"no key {name!r} is known here yet, or any more")
        return caller


def digest(key: str) -> str:
    """Return the stored digest of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def load_keys(path: Path) -> dict[str, Key]:
    """Read the keys; raise ConfigError for a file that is wrong or has none."""
    keys = decode(read_yaml(path, ADVICE), dict[KeyName, Key], str(path))
    if not keys:
        raise ConfigError(f"{path}: holds no key; {ADVICE}")
    return keys


def add_key(path: Path, name: str, roles: tuple[Role, ...], per_second: float | None) -> str:
    """Add a key to a file and return it: it is shown once, and only its digest is stored.

    Raise ConfigError, and leave the file as it is, for a name or a rate that no key can have.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"{name!r} cannot name a key: take up to 100 letters, digits and . _ @ -, the first no sign"
        )
    key = secrets.token_urlsafe(KEY_BYTES)
    entry: dict[str, object] = {"sha256": digest(key), "roles": list(roles)}
    entry |= {} if per_second is None else {"per_second": per_second}
    decode(entry, Key, f"the key {name!r}")
    # Of two that add a key at once, one would write the file without the other's.
    lock = FileLock(check_target(path).with_name(f".{path.name}.lock"), "is adding a key; try again")
    try:
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        if present.strip() and name in load_keys(path):
            raise ConfigError(
                f"{path}: has a key {name!r} already; remove its lines first, or choose another name"
            )
        added = yaml.safe_dump({name: entry}, sort_keys=False, default_flow_style=None)
        # In one step: a server that follows the file never reads half of it.
        new = path.with_name(f".{path.name}.{os.getpid()}.new")
        with write_to(new) as file:
            file.write(f"{present.rstrip()}\n{added}".lstrip().encode())
        new.replace(path)
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()
    return key
