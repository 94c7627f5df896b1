"""What one kind of server has to know: how it is prepared and started, asked and understood."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import msgspec

from tools.local_aws.processes import LOOPBACK

SERVICES = Path(str(files("benchmarks.suite.comparison") / "services"))
"""What runs in the environments of the comparison servers; nothing of it is imported here."""

HOST = LOOPBACK


class Model(msgspec.Struct, frozen=True):
    """The model as its bundle holds it (XGBoost's UBJ), and the names of its columns in order."""

    ubj: bytes
    columns: tuple[str, ...]


class RunContext(msgspec.Struct, frozen=True):
    """Where one server lives while it is measured.

    environment: its own virtual environment.  folder: takes all that it reads and writes.
    ports: three that are free, the first of them for the requests.
    """

    environment: Path
    folder: Path
    ports: tuple[int, int, int]

    def command(self, name: str) -> str:
        """Return a command of the server's own environment."""
        return str(self.environment / "bin" / name)


class Kind(Protocol):
    """A kind of server.

    name: no other kind has it.  environment: the name of its environment and its lock
    (`requirements/comparison-NAME.lock`).
    title: as tables and charts show it.
    packages: whose versions are given with the figures.
    ready: the path that answers 200 when it can be asked.
    path: where a row is scored.
    """

    name: str
    environment: str
    title: str
    packages: tuple[str, ...]
    ready: str
    path: str

    def prepare(self, context: RunContext, model: Model) -> list[list[str]]:
        """Write what it reads, and return the commands to run: the last one serves, the others end before."""

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        """Return the request that asks for the score of one row; NaN is missing."""

    def score(self, response: bytes) -> float:
        """Return the probability in an answer; raise msgspec's DecodeError where there is none."""


def write_model(context: RunContext, model: Model) -> Path:
    """Write the model in XGBoost's own format, and return where."""
    path = context.folder / "model.ubj"
    path.write_bytes(model.ubj)
    return path
