"""Save a model as MLflow's folder: `python mlflow_save.py frame|tensor MODEL.ubj COLUMNS.json FOLDER`."""

import json
import sys
from pathlib import Path

import mlflow
import numpy as np
import xgboost
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

form, source, columns, folder = sys.argv[1:]
booster = xgboost.Booster()
booster.load_model(source)
names = json.loads(Path(columns).read_text(encoding="utf-8"))
if form == "frame":
    inputs, outputs = Schema([ColSpec("double", name) for name in names]), Schema([ColSpec("float")])
else:
    inputs = Schema([TensorSpec(np.dtype("float64"), (-1, len(names)))])
    outputs = Schema([TensorSpec(np.dtype("float32"), (-1,))])
mlflow.xgboost.save_model(booster, folder, signature=ModelSignature(inputs, outputs))
