"""The fraud score of a row of features, as a service of BentoML."""

import bentoml
import numpy as np
import xgboost as xgb


@bentoml.service(workers=1)
class Fraud:
    """Scores rows with the newest model of the store."""

    stored = bentoml.models.BentoModel("fraud:latest")

    def __init__(self) -> None:
        """Load the model; one thread is what BentoML's own example of XGBoost takes."""
        self.model = bentoml.xgboost.load_model(self.stored)
        self.model.set_param({"nthread": 1})

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, data: np.ndarray) -> np.ndarray:
        """Return one probability of fraud a row."""
        scores: np.ndarray = self.model.predict(xgb.DMatrix(data))
        return scores
