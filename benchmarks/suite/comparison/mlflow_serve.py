"""`mlflow models serve`: the model as MLflow's own folder, behind MLflow's own server."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.suite.comparison.kind import HOST, SERVICES, Model, RunContext, write_model


class _Response(msgspec.Struct, frozen=True):
    predictions: tuple[float]


class MlflowServe:
    """A data frame of one row with named columns, as MLflow's documentation asks models of tables.

    MLflow saves the model in its own environment, with a signature: values may be missing then.
    """

    name = "mlflow"
    environment = "mlflow"
    title = "mlflow models serve"
    packages: tuple[str, ...] = ("mlflow", "uvicorn", "pandas", "xgboost-cpu")
    ready = "/ping"
    path = "/invocations"
    form = "frame"

    def prepare(self, context: RunContext, model: Model) -> list[list[str]]:
        """Write the model, to be saved by MLflow, and return how that is done and how it is served."""
        source, saved = write_model(context, model), context.folder / "saved"
        columns = context.folder / "columns.json"
        columns.write_bytes(msgspec.json.encode(model.columns))
        save = [context.command("python"), str(SERVICES / "mlflow_save.py"), self.form]
        save += [str(source), str(columns), str(saved)]
        serve = [context.command("mlflow"), "models", "serve", "--model-uri", str(saved)]
        serve += ["--env-manager", "local", "--workers", "1", "--host", HOST, "--port", str(context.ports[0])]
        return [save, serve]

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        """Return a data frame as MLflow splits it.

        >>> MlflowServe().body(["amount", "age"], [1.5, float("nan")])
        b'{"dataframe_split":{"columns":["amount","age"],"data":[[1.5,null]]}}'
        """
        return msgspec.json.encode({"dataframe_split": {"columns": list(columns), "data": [list(row)]}})

    def score(self, response: bytes) -> float:
        """Return the one prediction.

        >>> MlflowServe().score(b'{"predictions": [0.25]}')
        0.25
        """
        return msgspec.json.decode(response, type=_Response).predictions[0]


class MlflowTensors(MlflowServe):
    """The same server at its quickest: a bare array, which it neither names nor checks column by column."""

    name = "mlflow-tensors"
    title = "mlflow models serve, arrays"
    form = "tensor"

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        """Return an array of one row.

        >>> MlflowTensors().body(["amount", "age"], [1.5, float("nan")])
        b'{"inputs":[[1.5,null]]}'
        """
        del columns
        return msgspec.json.encode({"inputs": [list(row)]})
