"""The project file (params.yaml) and change sets: read from disk, decoded strictly, once, at the edge.

The types are in `core/project_schema.py`; what reads YAML is here, so that `core` needs no library for it.
Not here: proposing a project for a file of payments (`onboarding`).  Imports `core`; everything above may
import it, but the engine, which is handed a decoded project.  Begin at `loader.py`.
"""
