"""What the commands share when they print."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from fraud_detection.adapters.host.private_files import make_folder, write_to
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target

if TYPE_CHECKING:
    from fraud_detection.adapters.host.server_log import LogFormat

Figures = Mapping[str, object]


class Output:
    """Where a command prints: a screen for people, and a file of figures for programs."""

    def __init__(self, json: Path | None, log_format: LogFormat | None, *, plain: bool) -> None:
        """Draw on the terminal, or print plain lines; a log of JSON has the terminal's place."""
        from fraud_detection.adapters.terminal import Terminal

        self.plain = plain
        self.screen = Terminal(plain=plain, quiet=log_format == "json")
        self.log_format: LogFormat = log_format or "text"
        self._json = json

    def write(self, figures: Figures) -> None:
        """Write the figures to `--json FILE`, if it was given; what is not a number becomes null."""
        self.write_exact(_plain(figures))

    def write_exact(self, content: object) -> None:
        """Write a record to `--json FILE`, if it was given, with every digit that it has."""
        if self._json is not None:
            write_json(self._json, content)


def write_json(path: Path, content: object) -> None:
    """Write a file of JSON, indented."""
    import msgspec

    make_folder(path.parent)
    check_target(path).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print one line, to standard output where no other stream is given."""
    (stream or sys.stdout).write(f"{text}\n")


def figure(value: float, digits: int = 2) -> str:
    """Return a figure as a person reads it; one that nothing was measured of is a dash.

    >>> figure(1374.2, 0), figure(float("nan"))
    ('1,374', '-')
    """
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


@contextmanager
def open_output(out: str) -> Iterator[BinaryIO]:
    """Open the file or standard output to write to, and close it if it is a file."""
    try:
        file = sys.stdout.buffer if out == "-" else write_to(check_target(Path(out)))
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error}") from None
    try:
        yield file
    finally:
        file.flush()
        if out != "-":
            file.close()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
