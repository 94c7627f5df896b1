"""Decode a file into typed settings; a wrong key or value is an error that names its path.

msgspec finds the error; this module adds what a person needs next: the allowed
keys, and the nearest one to what was written.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from fraud_detection.core.errors import ConfigError

T = TypeVar("T")

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Money = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A block of settings that refuses keys it does not know."""


_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Duration:
    """A length of time, written as a whole number and a unit: s, m, h or d.

    >>> Duration.parse("7d").ms
    604800000
    >>> str(Duration.parse("90m"))
    '90m'
    """

    __slots__ = ("ms", "text")

    def __init__(self, ms: int, text: str) -> None:
        """Keep the text beside the value: feature names are made of it."""
        self.ms = ms
        self.text = text

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read '5m', '1h', '7d'; raise ValueError for anything else."""
        match = re.fullmatch(r"(\d+)([smhd])", str(text))
        if not match:
            message = f"expected a duration such as '5m', '12h' or '7d', got {text!r}"
            raise ValueError(message)
        return cls(int(match[1]) * _UNITS[match[2]], str(text))

    def __str__(self) -> str:
        """Return the text it was written as."""
        return self.text

    def __repr__(self) -> str:
        """Return a form that shows the text."""
        return f"Duration({self.text!r})"

    def __eq__(self, other: object) -> bool:
        """Two durations are equal when they are equally long."""
        return isinstance(other, Duration) and other.ms == self.ms

    def __hash__(self) -> int:
        """Hash by length."""
        return hash(self.ms)


class Moment:
    """A point in time, written as a date or as a date and time; without an offset it is UTC.

    >>> Moment.parse("2026-12-01").ms == Moment.parse("2026-12-01T01:00:00+01:00").ms
    True
    >>> str(Moment.parse("2026-12-01T10:00:00"))
    '2026-12-01T10:00:00Z'
    """

    __slots__ = ("ms",)

    def __init__(self, ms: int) -> None:
        """Take milliseconds since 1970-01-01 UTC."""
        self.ms = ms

    @classmethod
    def parse(cls, value: object) -> Moment:
        """Read ISO 8601 text, or what YAML has made of it; raise ValueError for anything else."""
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            value = value.isoformat()
        try:
            read = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
        except ValueError:
            message = f"expected a moment such as 2026-12-01 or 2026-12-01T10:00:00Z, got {value!r}"
            raise ValueError(message) from None
        known = read if read.tzinfo is not None else read.replace(tzinfo=dt.UTC)
        return cls((known - _EPOCH) // dt.timedelta(milliseconds=1))

    def __str__(self) -> str:
        """Return it in UTC, in full."""
        moment = _EPOCH + dt.timedelta(milliseconds=self.ms)
        return moment.isoformat().replace("+00:00", "Z")

    def __repr__(self) -> str:
        """Return a form that shows the time."""
        return f"Moment({self!s})"

    def __eq__(self, other: object) -> bool:
        """Two moments are equal when they are the same time."""
        return isinstance(other, Moment) and other.ms == self.ms

    def __hash__(self) -> int:
        """Hash by time."""
        return hash(self.ms)


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def decode(data: object, kind: type[T], origin: str) -> T:
    """Turn plain data into `kind`, or raise ConfigError with origin, path and allowed values.

    >>> class Where(msgspec.Struct, forbid_unknown_fields=True):
    ...     latitude: float
    ...     longitude: float
    >>> decode([{"lattitude": 52.5}], list[Where], "params.yaml")
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: params.yaml: Object contains unknown field `lattitude` - at \
`$[0]` (did you mean `latitude`?); allowed here: latitude, longitude
    """
    if not isinstance(data, Mapping) and _struct_of(kind) is kind:
        raise ConfigError(f"{origin}: expected named keys, as in `project: name`, got {type(data).__name__}")
    try:
        return msgspec.convert(data, kind, dec_hook=_custom_type, strict=True)
    except msgspec.ValidationError as error:
        message = f"{origin}: {error}{_advice(str(error), kind)}"
        raise ConfigError(message) from None


def to_plain(value: object) -> Any:  # noqa: ANN401 - YAML and JSON trees have no narrower type
    """Turn settings back into what YAML and JSON can hold."""
    return msgspec.to_builtins(value, enc_hook=str)


def _custom_type(kind: type, value: object) -> object:
    if kind is Duration:
        return Duration.parse(value)
    if kind is Moment:
        return Moment.parse(value)
    message = f"settings of type {kind} cannot be decoded"
    raise TypeError(message)


def _advice(message: str, kind: type) -> str:
    path = re.search(r"at `\$(.*?)`", message)
    at = _resolve(kind, path[1] if path else "")
    choices = [
        choice
        for option in (at, *get_args(at))
        if get_origin(option) is Literal
        for choice in get_args(option)
    ]
    if choices and "Invalid enum value" in message:
        return f"; allowed here: {', '.join(map(str, choices))}"
    unknown = re.search(r"unknown field `(.+?)`", message)
    owner = _struct_of(at)
    if unknown is None or owner is None:
        return ""
    allowed = [field.encode_name for field in msgspec.structs.fields(owner)]
    near = difflib.get_close_matches(unknown[1], allowed, n=1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    return f"{hint}; allowed here: {', '.join(allowed)}"


def _resolve(kind: Any, path: str) -> Any:  # noqa: ANN401 - walks type hints
    """Return the type that `path` leads to, None where it leads nowhere."""
    for step in re.findall(r"\.(\w+)|\[(.*?)\]", path):
        kind = _inner(kind, step[0])
        if kind is None:
            return None
    return kind


def _inner(kind: Any, name: str) -> Any:  # noqa: ANN401 - walks type hints
    struct = _struct_of(kind)
    if name and struct is not None:
        types = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        return types.get(name)
    for option in (kind, *get_args(kind)):
        arguments = get_args(option)
        origin = getattr(option, "__origin__", None)
        if arguments and origin is not None and isinstance(origin, type):
            return arguments[-1] if issubclass(origin, Mapping) else arguments[0]
    return None


def _struct_of(kind: Any) -> Any:  # noqa: ANN401 - walks type hints
    for option in (kind, *get_args(kind)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None
