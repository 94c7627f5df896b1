"""Processes that never outlive this one, not even when it is killed with kill -9.

Each child is a group of processes with a watcher in it: a shell that reads from a pipe whose other end
only this process holds.  However this process ends, the pipe ends too, and the watcher kills its group.
The system's own signal for a parent's death would not do: it is sent when the *thread* that started
the child ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

LOOPBACK = "127.0.0.1"

WATCHED = 'exec 3<&0 </dev/null; ( { read _ <&3; kill -KILL 0; } >/dev/null 2>&1 & ) ; exec 3<&-; exec "$@"'
"""A shell script: start the watcher apart, then become the command."""


class Child:
    """A running command, in a group of processes of its own, that sees the given environment and no other."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, output: int | IO[Any]
    ) -> None:
        """Start it; what it prints, errors too, goes to `output`."""
        pipe, self._lifeline = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - the caller's own command
                ["/bin/sh", "-c", WATCHED, "sh", *command],
                stdin=pipe,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(pipe)

    @property
    def pid(self) -> int:
        """Return the number of the command's process, which is also that of its group."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Say whether the command has not ended yet."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Send kill -9 to the command itself, as a test or the kernel would."""
        self.process.kill()

    def stop(self, grace_s: float = 0.0) -> None:
        """Ask the command to end, wait for it, and kill what is left of its group.  May be called again."""
        if grace_s and self.running:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        if self._lifeline >= 0:
            # The watcher keeps the group's number taken until now, so nobody else's group is hit.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.close(self._lifeline)
            self._lifeline = -1
        self.process.wait()


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])
