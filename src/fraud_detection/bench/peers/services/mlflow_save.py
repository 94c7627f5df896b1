"""Save a model as MLflow's folder: `python mlflow_save.py MODEL.ubj COLUMNS.json FOLDER`."""

import json
import sys
from pathlib import Path

import mlflow
import xgboost
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

source, columns, folder = sys.argv[1:]
booster = xgboost.Booster()
booster.load_model(source)
names = json.loads(Path(columns).read_text(encoding="utf-8"))
inputs, outputs = Schema([ColSpec("double", name) for name in names]), Schema([ColSpec("float")])
mlflow.xgboost.save_model(booster, folder, signature=ModelSignature(inputs, outputs))
