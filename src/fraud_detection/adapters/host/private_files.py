"""Files and folders for their owner alone, whatever the umask is: payments, cards and keys stand in them.

What is there already keeps the rights that somebody gave it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(FOLDER_MODE, exist_ok=True)


def append_to(path: Path) -> BinaryIO:
    """Open a file to write at its end; make it, and its folder, where they are missing."""
    return _opened(path, os.O_APPEND, "ab")


def write_to(path: Path) -> BinaryIO:
    """Open a file to write it anew; make it, and its folder, where they are missing."""
    return _opened(path, os.O_TRUNC, "wb")


def _opened(path: Path, how: int, mode: str) -> BinaryIO:
    make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, FILE_MODE)
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]  # a binary mode
