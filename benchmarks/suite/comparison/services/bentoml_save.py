"""Put a model into BentoML's store: `python bentoml_save.py MODEL.ubj`."""

import sys

import bentoml
import xgboost

booster = xgboost.Booster()
booster.load_model(sys.argv[1])
bentoml.xgboost.save_model("fraud", booster)
