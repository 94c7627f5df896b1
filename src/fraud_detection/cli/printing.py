"""What the commands share when they print."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec

from fraud_detection.adapters.host.private_files import make_folder, write_to
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target

Figures = dict[str, object]


def terminal(arguments: Namespace) -> Terminal:
    """Return the terminal, plain where `--headless` asks for it; a log of JSON has the terminal's place."""
    return Terminal(plain=arguments.headless, quiet=getattr(arguments, "log_format", "text") == "json")


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print one line, to standard output where no other stream is given."""
    (stream or sys.stdout).write(f"{text}\n")


def figure(value: float, digits: int = 2) -> str:
    """Return a figure as a person reads it; one that nothing was measured of is a dash.

    >>> figure(1374.2, 0), figure(float("nan"))
    ('1,374', '-')
    """
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def write_figures(arguments: Namespace, figures: Figures) -> None:
    """Write the figures to `--json FILE`, if it was given; what is not a number becomes null."""
    if arguments.json is not None:
        make_folder(arguments.json.parent)
        check_target(arguments.json).write_bytes(
            msgspec.json.format(msgspec.json.encode(_plain(figures)), indent=2) + b"\n"
        )


def open_output(out: str) -> BinaryIO:
    """Return the file or standard output to write to."""
    if out == "-":
        return sys.stdout.buffer
    try:
        return write_to(check_target(Path(out)))
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error}") from None


@contextmanager
def output(out: str) -> Iterator[BinaryIO]:
    """Open the file or standard output to write to, and close it if it is a file."""
    file = open_output(out)
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
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
