"""The fraud score of a row of features: what many services of a first year look like."""

import json
from pathlib import Path

import pandas as pd
from fastapi import FastAPI
from xgboost import XGBClassifier

COLUMNS = json.loads(Path("columns.json").read_text(encoding="utf-8"))

app = FastAPI()
model = XGBClassifier()
model.load_model("model.ubj")


@app.get("/health")
def health() -> dict[str, str]:
    """Say that it can be asked."""
    return {"status": "ok"}


@app.post("/predict")
def predict(features: dict[str, float | None]) -> dict[str, float]:
    """Return the probability of fraud."""
    frame = pd.DataFrame([features], columns=COLUMNS, dtype=float)
    return {"score": float(model.predict_proba(frame)[0, 1])}
