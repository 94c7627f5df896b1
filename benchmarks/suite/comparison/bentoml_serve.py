"""`bentoml serve`: the model in BentoML's own store, behind a service of a few lines."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import msgspec

from benchmarks.suite.comparison.kind import HOST, SERVICES, Model, RunContext, write_model


class BentomlServe:
    """The store lies in the server's home, so in its folder."""

    name = "bentoml"
    environment = "bentoml"
    title = "BentoML"
    packages: tuple[str, ...] = ("bentoml", "uvicorn", "xgboost")
    ready = "/readyz"
    path = "/predict"

    def prepare(self, context: RunContext, model: Model) -> list[list[str]]:
        """Put the service into its folder, and return how the model gets into the store, and is served."""
        source = write_model(context, model)
        shutil.copy(SERVICES / "bentoml_service.py", context.folder / "service.py")
        save = [context.command("python"), str(SERVICES / "bentoml_save.py"), str(source)]
        serve = [context.command("bentoml"), "serve", "service:Fraud"]
        return [save, [*serve, "--host", HOST, "--port", str(context.ports[0])]]

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        """Return an array of one row, under the name of the service's argument.

        >>> BentomlServe().body(["amount", "age"], [1.5, float("nan")])
        b'{"data":[[1.5,null]]}'
        """
        del columns
        return msgspec.json.encode({"data": [list(row)]})

    def score(self, response: bytes) -> float:
        """Return the one value of the array.

        >>> BentomlServe().score(b"[0.25]")
        0.25
        """
        return msgspec.json.decode(response, type=tuple[float])[0]
