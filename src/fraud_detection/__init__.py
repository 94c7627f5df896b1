"""Real-time fraud detection for payments: one engine, trained on replayed history and served live.

What flows, and the stages that compute, are in `core`; `engine` puts the stages in order; `adapters` speak to
the outside world; `serving` wires both to where payments come from.  `training`, `evaluation`, `backtest`,
`challengers` and `releases` change what serves; `audit` explains it; `cli` is the command `fraud`.  Begin
reading at `engine/pipeline.py`.  docs/architecture.md has the map.
"""
