"""HTTP/1.1 as it is spoken by the server (uvicorn with a connection of our own) and by one client.

Bounds of time, size and number stand here.  Not here: routes and their answers (`serving/http`).  Begin at
`server.py`; the header limit is in `request_reader.py`.  See docs/adr/0008.
"""
