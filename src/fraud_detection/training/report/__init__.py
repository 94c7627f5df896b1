"""What a person reads of a training: plots, pictures for MLflow, the model card.

Not here: any figure, which `evaluation` computes.  Begin at `pictures.py`.
"""
