"""Features: their names (`words`), what is remembered (`windows`, `profile`), how it is read (`extract`)."""
