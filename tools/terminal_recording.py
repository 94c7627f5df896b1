"""Record what a terminal shows while a command runs in it: its screens, as plain text.

The emulator knows what `rich` writes, which redraws a live table in its place: lines, carriage returns, the
cursor up, a line erased.  Colours and all other sequences are left out.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterable, Iterator, Sequence

PART = re.compile(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+")
READ = 65_536


def screens(output: str, height: int) -> Iterator[str]:
    r"""Yield the screen before each time that lines are erased, and at the end, each without its command.

    >>> list(screens("one\r\ntwo\r\x1b[2K\x1b[1A\x1b[2Kthree", height=24))
    ['one\ntwo', 'three']
    """
    rows, row, before = [""], 0, ""
    for part in PART.findall(output):
        if part.endswith("K"):
            if before == "\r":
                yield _shown(rows, height)
            rows[row] = ""
        elif part.endswith("A") and part.startswith("\x1b"):
            row = max(0, row - int(part[2:-1] or 1))
        elif part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif part != "\r" and not part.startswith("\x1b"):
            rows[row] = part if before == "\r" else rows[row] + part
        before = part
    yield _shown(rows, height)


def _shown(rows: Sequence[str], height: int) -> str:
    return "\n".join(line.rstrip() for line in rows[-height:]).rstrip("\n")


def output_of(command: Sequence[str], columns: int, height: int) -> str:
    """Run a command in a terminal of that size; return all that it wrote, or raise what it ended with."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", height, columns, 0, 0))
    own = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(height)}
    process = subprocess.Popen(  # noqa: S603 - commands of this project
        command, stdin=inside, stdout=inside, stderr=inside, env={**os.environ, **own}, start_new_session=True
    )
    os.close(inside)
    with os.fdopen(terminal, "rb", buffering=0) as reading:
        written = "".join(codecs.iterdecode(_chunks(reading.fileno()), "utf-8"))
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, list(command), written)
    return written


def _chunks(terminal: int) -> Iterable[bytes]:
    """Yield what is written until the last process has closed the terminal: Linux says EIO then."""
    while True:
        try:
            chunk = os.read(terminal, READ)
        except OSError:
            return
        if not chunk:
            return
        yield chunk
