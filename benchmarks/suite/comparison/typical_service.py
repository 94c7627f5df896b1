"""The service that people usually write: FastAPI, a data frame of one row, the wrapper for scikit-learn."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import msgspec

from benchmarks.suite.comparison.kind import HOST, SERVICES, Model, RunContext, write_model


class _Response(msgspec.Struct, frozen=True):
    score: float


class TypicalService:
    """`uvicorn service:app`, one process, as FastAPI's documentation starts it by hand."""

    name = "fastapi"
    environment = "fastapi"
    title = "FastAPI + pandas"
    packages: tuple[str, ...] = ("fastapi", "uvicorn", "pandas", "scikit-learn", "xgboost-cpu")
    ready = "/health"
    path = "/predict"

    def prepare(self, context: RunContext, model: Model) -> list[list[str]]:
        """Put the service beside its model."""
        write_model(context, model)
        (context.folder / "columns.json").write_bytes(msgspec.json.encode(model.columns))
        shutil.copy(SERVICES / "fastapi_service.py", context.folder / "service.py")
        return [[context.command("uvicorn"), "service:app", "--host", HOST, "--port", str(context.ports[0])]]

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        """Return an object with a value for each column.

        >>> TypicalService().body(["amount", "age"], [1.5, float("nan")])
        b'{"amount":1.5,"age":null}'
        """
        return msgspec.json.encode(dict(zip(columns, row, strict=True)))

    def score(self, response: bytes) -> float:
        """Return the score.

        >>> TypicalService().score(b'{"score":0.25}')
        0.25
        """
        return msgspec.json.decode(response, type=_Response).score
