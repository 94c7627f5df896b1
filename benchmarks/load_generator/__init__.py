"""An open and a closed load on one HTTP server, with every wait counted from when a request was due."""
