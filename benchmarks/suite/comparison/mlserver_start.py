"""`mlserver start`: MLServer with its own runtime for XGBoost, asked by the V2 inference protocol."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.suite.comparison.kind import HOST, Model, RunContext, write_model


class _Output(msgspec.Struct, frozen=True):
    data: tuple[float]


class _Response(msgspec.Struct, frozen=True):
    outputs: tuple[_Output]


class MlserverStart:
    """One worker for inference beside the process that takes the requests: MLServer's own default."""

    name = "mlserver"
    environment = "mlserver"
    title = "MLServer"
    packages: tuple[str, ...] = ("mlserver", "mlserver-xgboost", "uvicorn", "xgboost")
    ready = "/v2/models/fraud/ready"
    path = "/v2/models/fraud/infer"

    def prepare(self, context: RunContext, model: Model) -> list[list[str]]:
        """Write the model with its settings, and those of the server: ports and address."""
        write_model(context, model)
        http, grpc, metrics = context.ports
        runtime = {"name": "fraud", "implementation": "mlserver_xgboost.XGBoostModel"}
        server = {"host": HOST, "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
        for name, settings in (
            ("model-settings.json", runtime | {"parameters": {"uri": "./model.ubj"}}),
            ("settings.json", server),
        ):
            (context.folder / name).write_bytes(msgspec.json.encode(settings))
        return [[context.command("mlserver"), "start", "."]]

    def body(self, columns: Sequence[str], row: Sequence[float]) -> bytes:
        """Return a tensor of one row.

        >>> MlserverStart().body(["amount", "age"], [1.5, float("nan")])
        b'{"inputs":[{"name":"rows","shape":[1,2],"datatype":"FP32","data":[1.5,null]}]}'
        """
        tensor = {"name": "rows", "shape": [1, len(columns)], "datatype": "FP32", "data": list(row)}
        return msgspec.json.encode({"inputs": [tensor]})

    def score(self, response: bytes) -> float:
        """Return the one value of the one output.

        >>> MlserverStart().score(b'{"model_name":"fraud","outputs":[{"name":"predict","data":[0.25]}]}')
        0.25
        """
        return msgspec.json.decode(response, type=_Response).outputs[0].data[0]
