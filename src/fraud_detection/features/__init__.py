"""Features: what they are (`spec`), what is remembered (`windows`, `profile`), how they are read (`extract`)."""
