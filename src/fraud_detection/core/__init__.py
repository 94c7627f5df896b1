"""What flows, what goes wrong, and the stages that compute: pure Python, no I/O, no clock, no global state.

`events` and `outcomes` are what flows, `errors` classifies failures, `ports` are the seams that adapters
fill, `project_schema` is the project file decoded.  The stages `parse`, `features`, `score` and `decide`
never import one another; `engine` alone knows their order.  Not here: files, networks, and the order of
anything.  Imports only the standard library, msgspec and numpy; everything may import it.  Begin at
`events.py`.
"""
